"""A selection priced as one network is the network that it stands for, written by hand and priced."""

from __future__ import annotations

from pathlib import Path

from graphs import kinds
from priced_space import ATTENTION, CLEANUPS, FIRST, LAST, NORM, SCALED, X_TO_Y, priced_space, written

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.pricing import whole_costs
from graphopt.cost.record import Cost
from graphopt.ir.space import Selection, Space

TARGET = load_target("exynos2100-mali-g78")


def whole(space: Space, selection: Selection, cache: CostCache) -> dict[str, Cost]:
    return whole_costs(space, selection, {TARGET.name: open_backend(TARGET, cache)}, CLEANUPS)


def test_a_whole_is_the_price_of_the_rewritten_and_cleaned_network(tmp_path: Path) -> None:
    space, cache = priced_space(), CostCache(tmp_path)
    before = kinds(space.graph)
    kept = dict.fromkeys(space.choices, "keep")
    plain_norm = NORM.partition('["b.0/norm/mul"]')[0]
    first, first_of_norm = FIRST.replace("Conv(n", "Conv(x"), FIRST.replace("Conv(n", "Conv(n_n")
    texts = {
        (): f"{plain_norm} {first_of_norm} {ATTENTION} {SCALED} {LAST}",
        (("b.0/norm", "affine-norm"),): f"{first} {ATTENTION} {SCALED} {LAST}",
        (
            ("b.0/norm", "affine-norm"),
            ("b.0/attention", "static-attention"),
        ): f"{first} {LAST.replace('Conv(z', 'Conv(c')}",
    }
    prices = []
    for changes, text in texts.items():
        found = whole(space, {**kept, **dict(changes)}, cache)
        assert found == {TARGET.name: open_backend(TARGET, cache).price(written(f"{X_TO_Y} {{ {text} }}"))}
        prices.append(found[TARGET.name])
    assert prices[0].latency_ms > prices[1].latency_ms > prices[2].latency_ms > 0
    assert [cost.macs for cost in prices] == [2 * 8 * 8 * 256 + 64, 2 * 8 * 8 * 256 + 64, 2 * 8 * 8 * 256]
    assert kinds(space.graph) == before  # the space stays as it was


def test_a_choice_inside_a_replaced_site_changes_no_whole(tmp_path: Path) -> None:
    space, cache = priced_space(), CostCache(tmp_path)
    selection = {"b.0/norm": "affine-norm", "b.0/attention": "static-attention", "b.0/pool": "keep"}
    assert whole(space, selection, cache) == whole(space, {**selection, "b.0/pool": "two-step-pool"}, cache)
