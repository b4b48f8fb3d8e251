"""Tables and wholes from whatever prices models: here, something that counts nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import nested_space
import onnx
import pytest

from graphopt.cost.pricing import whole_costs
from graphopt.cost.record import NetworkCost
from graphopt.cost.table import build_table

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
    found = whole_costs(nested_space.space(), selection, pricers, [])
    assert {name: cost.latency_ms for name, cost in found.items()} == {"phone": NODES + left, "npu": 2 * (NODES + left)}
