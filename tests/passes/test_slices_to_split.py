"""slices-to-split: slices that share out a tensor, and those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.bounded_gate import BoundedGate
from graphopt.passes.slices_to_split import SlicesToSplit
from graphs import kinds, network, random_image, refused, run, site_names

from graphopt.ir.space_building import prepare

IMAGE = random_image(1, 6, 8, 10)


X_TO_Y = "(float[1, 6, 8, 10] x) => (float[1, 6, 8, 10] y)"


SLICES = {"zero": np.array([0]), "two": np.array([2]), "three": np.array([3]), "five": np.array([5]), "one": np.array([1]), "end": np.array([2**62]), "minus": np.array([-3])}  # fmt: skip


@pytest.mark.parametrize(
    ("slices", "sizes"),
    [
        ("a = Slice(x, zero, three, one) b = Slice(x, three, end, one)", [3, 3]),
        ("b = Slice(x, three, end, one, one) a = Slice(x, zero, three, one, one)", [3, 3]),
        ("a = Slice(x, zero, minus, minus) b = Slice(x, minus, end, one)", [3, 3]),
    ],
)
def test_slices_become_a_split(slices: str, sizes: list[int]) -> None:
    text = f"(float[1, 6, 8, 10] x) => (float[1, 3, 8, 10] y) {{ {slices} y = Sub(a, b) }}"
    graph = network(text, SLICES)
    prepared = prepare(graph, [SlicesToSplit()], [IMAGE])
    assert prepared.edits == {"slices-to-split": 1}
    assert kinds(prepared.graph) == ["Split", "Sub"]
    assert prepared.graph.nodes[0].inputs[1].values.tolist() == sizes
    np.testing.assert_array_equal(run(prepared.graph, IMAGE), run(graph, IMAGE))


def test_gates_of_slices_are_gates_afterwards() -> None:
    text = """(float[1, 6, 8, 10] x) => (float[1, 3, 8, 10] y) {
        a = Slice(x, zero, three, one) b = Slice(x, three, end, one) y = Mul(a, b) }"""
    edits = prepare(network(text, SLICES), [SlicesToSplit(), BoundedGate(tail=0)], [IMAGE]).edits
    assert edits == {"slices-to-split": 1, "bounded-gate": 1}


def test_the_site_is_named_after_the_slice_that_begins_at_0() -> None:
    text = """(float[1, 6, 8, 10] x) => (float[1, 3, 8, 10] y) {
        ["b.0/slice_2"] b = Slice(x, three, end, one) ["b.0/slice"] a = Slice(x, zero, three, one)
        ["b.0/sub"] y = Sub(a, b) }"""
    assert site_names(network(text, SLICES), SlicesToSplit()) == ["b.0/slice_2/split"]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("a = Slice(x, zero, three, one) b = Slice(x, two, five, one) y = Concat<axis = 1>(a, b)", 1),  # overlap
        (
            "a = Slice(x, zero, two, one) b = Slice(x, three, end, one) c = Slice(x, zero, one, one) y = Concat<axis = 1>(a, b, c)",
            1,
        ),
        ("a = Slice(x, zero, end, one, two) b = Slice(x, one, end, one, two) y = Concat<axis = 1>(a, b)", 0),  # steps
        ("a = Slice(x, zero, three, one) y = Concat<axis = 1>(a, a)", 0),  # one slice
    ],
)
def test_slices_that_stay(text: str, reasons: int) -> None:
    found = refused(network(f"{X_TO_Y} {{ {text} }}", SLICES), SlicesToSplit())
    assert found == ["the slices of x do not share out its 6 along axis 1"] * reasons
