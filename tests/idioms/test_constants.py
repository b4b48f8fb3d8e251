"""What is a constant, without reading it."""

from __future__ import annotations

import onnx_graphsurgeon as gs
from graphs import network, onnx_model

from graphopt.idioms import is_constant
from graphopt.ir.canonical import to_graph


def test_initialisers_alone() -> None:
    graph = network(
        "(float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) { a = Relu(x) y = Conv(a, w) }", {"w": (4, 4, 1, 1)}
    )
    assert [is_constant(tensor) for tensor in (*graph.nodes[1].inputs, *graph.outputs)] == [False, True, False]
    assert not is_constant(gs.Variable.empty())


def test_its_values_stay_in_the_file() -> None:
    graph = to_graph(
        onnx_model("(float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) { y = Conv(x, w) }", {"w": (4, 4, 1, 1)})
    )
    weight = graph.nodes[0].inputs[1]
    assert is_constant(weight)
    assert isinstance(weight._values, gs.ir.tensor.LazyValues)
