"""The table against contexts that were written by hand and priced one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import nafnet, random_image, space_of
from priced_space import CLEANUPS, by_hand, priced_space, rule

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost
from graphopt.cost.table import CostTable, build_table
from graphopt.cost.target import Target
from graphopt.ir.canonical import to_model
from graphopt.ir.space import KEEP, Space
from graphopt.progress import Progress

TUNED = {"b.0/norm": "affine-norm", "b.0/attention": "static-attention"}


def table_of(space: Space, targets: list[Target], cache: CostCache) -> CostTable:
    base = {target.name: open_backend(target, cache).price(to_model(space.graph)) for target in targets}
    return table_over(base, space, targets, cache, lambda share, words: None)


def table_over(
    base: dict[str, NetworkCost], space: Space, targets: list[Target], cache: CostCache, say: Progress
) -> CostTable:
    pricers = {target.name: open_backend(target, cache) for target in targets}
    return build_table(space, base, pricers, CLEANUPS, say)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))


@pytest.fixture(scope="module")
def targets() -> list[Target]:
    return [load_target(name) for name in ("sm8650-adreno750", "exynos2100-mali-g78")]


@pytest.fixture(scope="module")
def table(cache: CostCache, targets: list[Target]) -> CostTable:
    return table_of(priced_space(), targets, cache)


@pytest.mark.parametrize(("choice", "option"), TUNED.items())
def test_a_delta_is_the_price_of_the_context_less_that_of_keep(
    table: CostTable, cache: CostCache, targets: list[Target], choice: str, option: str
) -> None:
    written = by_hand()
    for target in targets:
        cost, kept = (open_backend(target, cache).price(written[choice, name]) for name in (option, KEEP))
        delta = table.deltas[choice][option][target.name]
        assert delta.latency_ms == pytest.approx(cost.latency_ms - kept.latency_ms, rel=1e-9)
        assert delta.latency_ms < -1e-4  # both save something, and not the same on both phones
    found = [table.deltas[choice][option][target.name].latency_ms for target in targets]
    assert found[0] != pytest.approx(found[1], rel=1e-3)


def test_work_and_weights_by_hand(table: CostTable) -> None:
    for target in table.base:
        norm = table.deltas["b.0/norm"]["affine-norm"][target]
        assert (norm.macs, norm.parameters) == (0, 0)  # scale and shift fold, before as after
        attention = table.deltas["b.0/attention"]["static-attention"][target]
        assert (attention.macs, attention.parameters) == (-8 * 8, -(8 * 8 + 8))  # a 1x1 on one pixel
    assert {cost.macs for cost in table.base.values()} == {2 * 8 * 8 * 256 + 8 * 8}


def test_keep_changes_nothing(table: CostTable) -> None:
    for choice in TUNED:
        for delta in table.deltas[choice][KEEP].values():
            assert (delta.latency_ms, delta.macs, delta.parameters) == (0, 0, 0)


def test_the_base_is_the_price_of_the_whole_network(table: CostTable, cache: CostCache, targets: list[Target]) -> None:
    model = to_model(priced_space().graph)
    assert table.base == {target.name: open_backend(target, cache).price(model) for target in targets}


def test_parts_add_up_and_choices_inside_a_replaced_site_count_nothing(table: CostTable) -> None:
    space, name = priced_space(), "exynos2100-mali-g78"
    saved = {choice: table.deltas[choice][option][name].latency_ms for choice, option in TUNED.items()}
    base = table.base[name].latency_ms
    kept = dict.fromkeys(space.choices, KEEP)
    assert table.expected_ms(space, kept, name) == base
    both = table.expected_ms(space, {**kept, **TUNED}, name)
    assert both == pytest.approx(base + sum(saved.values()), rel=1e-12)
    inside = table.expected_ms(space, {**kept, **TUNED, "b.0/pool": "two-step-pool"}, name)
    assert inside == both


def test_a_table_survives_json(table: CostTable) -> None:
    again = CostTable.from_dict(table.to_dict())
    assert again.deltas == table.deltas
    assert {name: cost.latency_ms for name, cost in again.base.items()} == {
        name: cost.latency_ms for name, cost in table.base.items()
    }


def test_contexts_of_one_shape_are_priced_once(targets: list[Target], tmp_path: Path) -> None:
    """Four shapes of norms with two options each, in twelve contexts: eight prices for each target."""
    space = space_of(nafnet(), [rule("affine-norm")], [random_image(1, 3, 16, 16)])
    said: list[tuple[float, str]] = []
    base = {targets[1].name: NetworkCost(1.0, 1.0, 1.0, "estimated", 0, 0, 0)}
    table = table_over(base, space, targets[1:], CostCache(tmp_path), lambda *words: said.append(words))
    assert [words for _, words in said] == [
        f"{option} at {block}/{norm}"
        for block in ("encoders.0.0", "middle_blks.0")
        for norm in ("norm1", "norm2")
        for option in ("keep", "affine-norm")
    ]
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    for norm in ("norm1", "norm2"):
        assert table.deltas[f"encoders.0.0/{norm}"] == table.deltas[f"decoders.0.0/{norm}"]
        assert table.deltas[f"encoders.0.0/{norm}"] != table.deltas[f"middle_blks.0/{norm}"]
