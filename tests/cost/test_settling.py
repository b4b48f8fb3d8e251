"""Exact candidates settled by price: what the sums say of a selection is what its network costs, on every target."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from search_toys import Drop, DropPair, Same, ToyPricer, scaled_twice, settled_toy, toy_space

from graphopt import Contract, Pass
from graphopt.cost.record import NetworkCost
from graphopt.cost.settling import settle_network
from graphopt.ir.canonical import to_model
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.session import OnnxSession
from graphopt.search.additive import latency_of, parameters_of

TARGETS = {
    "a": ToyPricer({"Mul": 2.0, "first": 1.0}),
    "b": ToyPricer({"Mul": 2.0, "first": 2.5}),
}  # `same` is faster on a, slower on b


@dataclass(frozen=True)
class Merge(Pass):
    """x * s * t -> (s * t) * x, around the last two scales"""

    name: ClassVar[str] = "merge"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph):
        return graph.find(scaled_twice, label="pair")

    def rewrite(self, site, build):
        return build.mul(build.parameter("scale", build.values("first") * build.values("second")), build.input("x"))


@pytest.mark.parametrize(
    ("weights", "settled"),
    [({"a": 0.5, "b": 0.5}, True), ({"a": 0.2, "b": 0.8}, False), ({"a": 1.0, "b": 0.0}, True)],
)
@pytest.mark.parametrize("passes", [(Drop(), Same()), (Drop(), DropPair(), Same())])
def test_every_sum_is_the_price_of_a_network_that_exists(
    weights: dict[str, float], settled: bool, passes: tuple[Pass, ...]
) -> None:
    """`same` on a and the site as it is on b would be a network that nobody can build."""
    space, table = settled_toy(TARGETS, weights, *passes)
    assert set(table.settled.values()) == ({"same"} if settled else set())
    assert len(table.settled) in (0, 3)
    assert {option for choice in space.choices.values() for option in choice.candidates} <= {"drop", "drop-pair"}
    names = list(space.choices)
    for options in itertools.product(*(space.choices[name].options for name in names)):
        selection = dict(zip(names, options, strict=True))
        model = to_model(apply_selection(space, selection))
        for name, pricer in TARGETS.items():
            price = pricer.price(model)
            assert table.expected_ms(space, selection, name) == pytest.approx(price.latency_ms, abs=1e-12)
            assert latency_of(space, table, name).of(selection) == pytest.approx(price.latency_ms, abs=1e-12)
        assert parameters_of(space, table).of(selection) == price.parameters


def test_what_is_settled_computes_what_stood_there() -> None:
    space, table = settled_toy({"a": TARGETS["a"]}, {"a": 1.0}, Drop(), Same())
    assert [node.name for node in space.graph.nodes if "@same" in node.name]
    image = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    np.testing.assert_array_equal(OnnxSession(to_model(space.graph)).run(image), image)  # 0.5 * 2
    assert table.base["a"].latency_ms == pytest.approx(3 * 1.0 + 2.0)


def test_an_exact_candidate_takes_no_other_choices_away() -> None:
    """Merging the last two scales halves their price; but each of them may also go."""
    space, table = settled_toy({"a": ToyPricer({"Mul": 2.0, "first": 2.0})}, {"a": 1.0}, Drop(), Merge())
    assert table.settled == {}
    assert len(space.choices) == 3
    assert all("drop" in choice.candidates for choice in space.choices.values())


def test_exact_candidates_inside_each_other_are_settled_together() -> None:
    """The pair at 1.5 as one product, 3 as two that are settled each, 4 as it is."""
    space, table = settled_toy({"a": ToyPricer({"Mul": 2.0, "first": 1.5})}, {"a": 1.0}, Same(), Merge())
    assert sorted(table.settled.values()) == ["merge", "same"]
    assert table.base["a"].latency_ms == pytest.approx(1.5 + 1.5 + 2.0)
    assert space.choices == {}


def test_a_site_counts_with_what_is_settled_inside_it() -> None:
    space, table = settled_toy({"a": ToyPricer({"Mul": 2.0, "first": 0.5})}, {"a": 1.0}, DropPair(), Same())
    (pair,) = space.choices
    assert table.deltas[pair]["drop-pair"]["a"].latency_ms == pytest.approx(-1.0)  # two at 0.5, not two at 2
    assert len(table.settled) == 3


@dataclass(frozen=True)
class Hopeful(ToyPricer):
    """Believes of every part that it saves a second."""

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        return -1000.0


@pytest.mark.parametrize(
    ("pricer", "settled"),
    [
        (ToyPricer({"Mul": 2.0, "first": 1.0}), {"same": 2}),
        (ToyPricer({"Mul": 2.0, "first": 2.5}), {}),
        (Hopeful({"Mul": 2.0, "first": 2.5}), {}),
        (Hopeful({"Mul": 2.0, "first": 2.0}), {}),
    ],
)
def test_what_was_chosen_is_settled_again_if_the_whole_gains(pricer: ToyPricer, settled: dict[str, int]) -> None:
    """`drop` at the second scale was chosen, and `same` at the first: its marks go, for `same` comes there again."""
    space = toy_space(Drop(), Same())
    chosen = apply_selection(space, {"second": "drop"})
    image = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    found, counts = settle_network(
        chosen,
        [Drop(), Same()],
        [image],
        [],
        {"a": pricer},
        {"a": 0.5, "unsearched": 0.0},
        to_model(space.graph),
        lambda share, words: None,
    )
    assert counts == settled
    names = [tensor.name for node in found.nodes for tensor in node.outputs]
    assert len(names) == len(set(names)) == 3
    expected, result = (OnnxSession(to_model(graph), threads=1).run(image) for graph in (chosen, found))
    np.testing.assert_array_equal(result, expected)
    again = settle_network(
        found, [Drop(), Same()], [image], ["*"], {"a": pricer}, {"a": 1.0}, to_model(found), lambda share, words: None
    )
    assert again[1] == {}  # every site is excluded
