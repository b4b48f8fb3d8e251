"""Gates by Split and by two Slices: passes find both, and leave alone what is no product of two halves."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.bounded_gate import BoundedGate
from graphopt.passes.narrow_feed_forward import NarrowFeedForward
from graphs import difference, kinds, network, random_image, rewritten, run

from graphopt import GraphView
from graphopt.idioms import gate
from graphopt.ir.space_building import prepare

HALVES = "(float[1, 6, 8, 10] x) => (float[1, 3, 8, 10] y)"
BOUNDS = {
    "zero": np.array([0]), "two": np.array([2]), "three": np.array([3]), "five": np.array([5]), "six": np.array([6]),
    "one": np.array([1]), "end": np.array([2**62]), "minus": np.array([-3]),
}  # fmt: skip
SPELLINGS = {
    "split": "a, b = Split<axis = 1, num_outputs = 2>(x) y = Mul(a, b)",
    "split, the second half first": "a, b = Split<axis = -3, num_outputs = 2>(x) y = Mul(b, a)",
    "slices": "a = Slice(x, zero, three, one) b = Slice(x, three, six, one) y = Mul(a, b)",
    "slices, the second half first": "a = Slice(x, zero, three, one) b = Slice(x, three, end, one) y = Mul(b, a)",
    "slices in steps of one": "a = Slice(x, zero, three, one, one) b = Slice(x, three, end, one, one) y = Mul(a, b)",
    "slices that count from the end": "a = Slice(x, zero, minus, minus) b = Slice(x, minus, end, one) y = Mul(a, b)",
}


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_the_whole_gate_is_one_site(body: str) -> None:
    graph = network(f"{HALVES} {{ {body} }}", BOUNDS)
    (site,) = GraphView(graph).find(gate)
    assert (len(site.nodes), site.inputs) == (len(graph.nodes), {"x": "x"})


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_can_be_bounded(body: str) -> None:
    graph, image = network(f"{HALVES} {{ {body} }}", BOUNDS), random_image(1, 6, 8, 10)
    prepared = prepare(graph, [BoundedGate(tail=0)], [image])
    assert (prepared.edits, kinds(prepared.graph)) == ({"bounded-gate": 1}, ["Clip", "Split", "Mul"])
    assert difference(run(prepared.graph, image), run(graph, image)) < 1e-6


@pytest.mark.parametrize(
    "body",
    [
        "a = Slice(x, zero, three, one) b = Slice(x, two, five, one) y = Mul(a, b)",
        "a = Slice(x, zero, three, one) b = Slice(x, zero, three, one) y = Mul(a, b)",
        "a = Slice(x, zero, end, one, two) b = Slice(x, one, end, one, two) y = Mul(a, b)",
        "r = Relu(x) a = Slice(x, zero, three, one) b = Slice(r, three, end, one) y = Mul(a, b)",
    ],
    ids=["overlapping", "the same half twice", "every second channel", "of two tensors"],
)
def test_other_products_of_slices_are_no_gates(body: str) -> None:
    assert GraphView(network(f"{HALVES} {{ {body} }}", BOUNDS)).find(gate) == []


def test_halves_of_another_axis_are_no_gate() -> None:
    text = """(float[1, 6, 6, 10] x) => (float[1, 6, 3, 10] y) {
        a = Slice(x, zero, three, two) b = Slice(x, three, end, two) y = Mul(a, b) }"""
    assert GraphView(network(text, BOUNDS)).find(gate) == []


def test_half_of_a_nafnet_block_with_slices() -> None:
    text = """(float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {
        u = Conv(x, w4, b4) a = Slice(u, zero, four, one) b = Slice(u, four, end, one) g = Mul(a, b)
        y = Conv(g, w5, b5) }"""
    weights = {**BOUNDS, "four": np.array([4]), "w4": (8, 4, 1, 1), "b4": (8,), "w5": (4, 4, 1, 1), "b5": (4,)}
    after = rewritten(network(text, weights), NarrowFeedForward(), [random_image(1, 4, 8, 8)])
    assert kinds(after) == ["Conv", "Split", "Mul", "Conv"]
