"""bounded-gate: a clamp at the quantiles, once, and only where it changes little."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from clamps import Loose
from graphopt.passes.bounded_gate import BoundedGate
from graphs import difference, kinds, network, refused, run, site_names
from norms import SCENES, by_channel

from graphopt import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.space_building import prepare
from graphopt.ir.view import GraphView

GATE = """(float[1, 4, 16, 16] x) => (float[1, 2, 16, 16] y) {
    ["block.0/split"] a, b = Split<axis = 1, num_outputs = 2>(x) ["block.0/mul"] y = Mul(a, b) }"""


def test_it_clips_at_the_quantiles() -> None:
    graph = network(GATE)
    low, high = np.quantile(by_channel(SCENES), [0.01, 0.99])
    assert site_names(graph, BoundedGate(tail=0.01)) == ["block.0"]
    prepared = prepare(graph, [Loose(tail=0.01)], SCENES)
    assert kinds(prepared.graph) == ["Clip", "Split", "Mul"]
    assert prepared.edits == {"bounded-gate": 1}
    first, second = np.split(np.clip(SCENES[0], low, high), 2, axis=1)
    assert difference(run(prepared.graph, SCENES[0]), first * second) < 1e-5
    bounds = [t.values.item() for t in prepared.graph.nodes[0].inputs[1:]]
    np.testing.assert_allclose(bounds, [low, high], rtol=1e-4)


def test_it_applies_once() -> None:
    graph = network(GATE)
    prepared = prepare(graph, [BoundedGate(tail=0)], SCENES)
    view = GraphView(to_graph(to_model(prepared.graph)))
    assert list(BoundedGate().sites(view)) == []
    assert view.refusals == [("block.0/mul", "it is bounded already")]
    assert prepare(prepared.graph, [BoundedGate()], SCENES).edits == {"bounded-gate": 0}
    assert difference(run(prepared.graph, SCENES[2]), run(graph, SCENES[2])) < 1e-6  # a tail of 0 cuts nothing


def test_cutting_too_much_is_an_error() -> None:
    with pytest.raises(GraphoptError, match=r"pass bounded-gate: the contract is 'approximate' within 0.01, but the "
                       r"network's output changes by [0-9.]+e-01"):  # fmt: skip
        prepare(network(GATE), [BoundedGate(tail=0.2)], SCENES)


def test_gates_of_unequal_halves_are_refused() -> None:
    text = """(float[1, 4, 16, 16] x) => (float[1, 3, 16, 16] y) {
        a, b = Split<axis = 1>(x, sizes) y = Mul(a, b) }"""
    assert refused(network(text, {"sizes": np.array([1, 3])}), BoundedGate()) == ["expected the product of two halves"]


def test_gates_before_another_user_are_refused(nafnet_graph: gs.Graph) -> None:
    nafnet_graph.outputs.append(nafnet_graph.tensors()["encoders_0_0_a"])
    view = GraphView(nafnet_graph)
    assert len(list(BoundedGate().sites(view))) == 5
    assert ("encoders.0.0/sg/mul", "encoders_0_0_a, inside the site, is an output of the graph") in view.refusals


@pytest.mark.parametrize("tail", [-0.1, 0.5])
def test_tails_that_are_none(tail: float) -> None:
    with pytest.raises(ValueError, match=f"option 'tail' is {tail}; expected a number from 0 to below 0.5"):
        BoundedGate(tail=tail)
