"""Tables and wholes from whatever prices models; a whole is the network that it stands for, written by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nested_space
import onnx
import pytest
from graphs import kinds
from priced_space import ATTENTION, CLEANUPS, FIRST, LAST, NORM, SCALED, X_TO_Y, priced_space, written

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.pricing import whole_costs
from graphopt.cost.record import Cost, NetworkCost
from graphopt.cost.table import build_table
from graphopt.ir.canonical import to_model
from graphopt.ir.space import Selection, Space

TARGET = load_target("exynos2100-mali-g78")


def whole(space: Space, selection: Selection, cache: CostCache) -> dict[str, Cost]:
    pricers = {TARGET.name: open_backend(TARGET, cache)}
    return whole_costs(space, selection, pricers, CLEANUPS, to_model(space.graph))


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


NODES = len(nested_space.keep_model().graph.node)


@dataclass
class Counting:
    """`each` milliseconds a node; a part that is exchanged counts `weight` times its difference."""

    each: float
    weight: float = 1.0
    seen: list[int] = field(default_factory=list)

    def price(self, model: onnx.ModelProto) -> NetworkCost:
        count = len(model.graph.node)
        self.seen.append(count)
        return NetworkCost(self.each * count, 0.0, 0.0, "estimated", 10 * count, 100 * count, 0)

    def price_part(self, model: onnx.ModelProto, kept: onnx.ModelProto | None = None) -> NetworkCost:
        assert kept is None or len(kept.graph.node) in self.seen  # what stands there has been priced
        return self.price(model)

    def price_beside(self, model: onnx.ModelProto, reference: onnx.ModelProto) -> NetworkCost:
        assert len(reference.graph.node) == NODES
        return self.price(model)

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        assert whole.latency_ms == self.each * NODES  # the whole network on this target
        return self.weight * (put.latency_ms - kept.latency_ms)


def test_a_table_says_what_each_candidate_adds_where_it_is_priced() -> None:
    """Of nodes: the norm's seven become two, an activation two, a split one more, and a skipped block's ten none."""
    pricers = {"phone": Counting(1.0), "npu": Counting(2.0, weight=3.0)}
    space = nested_space.space()
    base = {name: pricer.price(nested_space.keep_model()) for name, pricer in pricers.items()}
    heard: list[str] = []
    table = build_table(space, base, pricers, [], lambda share, words: heard.append(words))
    nodes = {"block": {"skip": -10}, "block/norm": {"affine": -5}, "block/act": {"same": 0, "limited": 1},
             "halves": {"scaled": 1}}  # fmt: skip
    for choice, options in nodes.items():
        for option, count in {"keep": 0, **options}.items():
            found = table.deltas[choice][option]
            assert (found["phone"].latency_ms, found["npu"].latency_ms) == (count, 6 * count), (choice, option)
            assert (found["phone"].macs, found["phone"].parameters) == (10 * count, 100 * count)
    assert table.base == base
    assert pricers["phone"].seen == pricers["npu"].seen
    assert len(heard) == len(pricers["phone"].seen) - 1  # one line for each price, beside that of the base


@pytest.mark.parametrize(("selection", "left"), [({}, 0), ({"block/norm": "affine"}, -5), ({"block": "skip"}, -10)])
def test_a_whole_is_priced_as_one_network(selection: dict[str, str], left: int) -> None:
    pricers = {"phone": Counting(1.0), "npu": Counting(2.0)}
    found = whole_costs(nested_space.space(), selection, pricers, [], nested_space.keep_model())
    assert {name: cost.latency_ms for name, cost in found.items()} == {"phone": NODES + left, "npu": 2 * (NODES + left)}
