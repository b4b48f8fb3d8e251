"""Tensors that are shared out: by a Split along any axis, by slices in any order."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import network

from graphopt.idioms import Parts, sliced_parts, split_parts
from graphopt.ir.view import GraphView

NUMBERS = {str(i): np.array([i]) for i in range(4)} | {"sizes": np.array([1, 3, 2]), "end": np.array([9])}


def view(text: str) -> GraphView:
    numbers = {f"n{name}" if name.isdigit() else name: value for name, value in NUMBERS.items()}
    return GraphView(network(f"(float[1, 6, 8, 10] x) => (float[1, 6, 8, 10] y) {{ {text} }}", numbers))


def said(parts: Parts) -> tuple[str, int, list[str], list[str]]:
    return parts.whole.name, parts.axis, [node.name for node in parts.nodes], [part.name for part in parts.parts]


@pytest.mark.parametrize(("axis", "counted"), [(1, 1), (-3, 1), (-1, 3)])
def test_a_split(axis: int, counted: int) -> None:
    found = view(f"a, b = Split<axis = {axis}, num_outputs = 2>(x) y = Concat<axis = {axis}>(b, a)")
    assert [said(parts) for parts in split_parts(found)] == [("x", counted, ["split"], ["a", "b"])]
    assert list(sliced_parts(found)) == []


def test_slices_in_their_order_along_the_axis() -> None:
    found = view("b = Slice(x, n2, end, n1) a = Slice(x, n0, n2, n1) y = Concat<axis = 1>(a, b)")
    assert [said(parts) for parts in sliced_parts(found)] == [("x", 1, ["slice", "slice_2"], ["a", "b"])]
    assert list(split_parts(found)) == []


def test_a_gap_is_said() -> None:
    found = view(
        "b = Slice(x, n3, end, n1) a = Slice(x, n0, n2, n1) c = Slice(x, n1, n2, n1) y = Concat<axis = 1>(a, b, c)"
    )
    assert list(sliced_parts(found)) == []
    assert found.refused == [("slice_2", "the slices of x do not share out its 6 along axis 1")]
