"""affine-norm and bounded-gate."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.bounded_gate import BoundedGate
from graphs import NORM_CONSTANTS, difference, kinds, layer_norm, network, norm_weights, run

from graphopt import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.space_building import build_space, prepare
from graphopt.ir.view import GraphView

X_TO_Y = "(float[1, 4, 16, 16] x) => (float[1, 4, 16, 16] y)"
GATE = """(float[1, 4, 16, 16] x) => (float[1, 2, 16, 16] y) {
    ["block.0/split"] a, b = Split<axis = 1, num_outputs = 2>(x) ["block.0/mul"] y = Mul(a, b) }"""


def silent(share: float, text: str) -> None: ...


def scenes(seed: int = 0, count: int = 3) -> list[np.ndarray]:
    """Images in which channels differ in level and spread."""
    random = np.random.default_rng(seed)
    level, spread = random.normal(size=(2, 1, 4, 1, 1))
    return [(level + spread * random.normal(size=(1, 4, 16, 16))).astype(np.float32) for _ in range(count)]


def rows(images: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.moveaxis(image, 1, -1).reshape(-1, image.shape[1]) for image in images])


@pytest.mark.parametrize("spelling", ["decomposed", "transposed"])
def test_affine_norm_is_the_least_squares_fit(spelling: str) -> None:
    text = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'block.0.norm1', spelling)} }}"
    weights = {**(NORM_CONSTANTS if spelling == "decomposed" else {}), **norm_weights("block.0.norm1", 4, spelling)}
    graph, images = network(text, weights, seed=5), scenes()
    space = build_space(graph, [AffineNorm()], images, [], silent)
    assert {name: choice.options for name, choice in space.choices.items()} == {
        "block.0/norm1": ("keep", "affine-norm")
    }
    chosen = apply_selection(space, {"block.0/norm1": "affine-norm"})
    assert kinds(chosen) == ["Mul", "Add"]
    assert [node.name for node in chosen.nodes] == ["block.0/norm1@affine-norm/mul", "block.0/norm1@affine-norm/add"]
    # independently: y = LN(x) in float64, then a line through each channel's points
    scale, shift = (
        np.asarray(t.values).ravel() for t in (graph.tensors()[f"block.0.norm1.{s}"] for s in ("scale", "shift"))
    )
    x = rows(images).astype(np.float64)
    normed = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6) * scale + shift
    lines = [np.polyfit(x[:, channel], normed[:, channel], 1) for channel in range(4)]
    expected = np.stack([line[0] * images[0][0, c] + line[1] for c, line in enumerate(lines)])[None]
    if spelling == "transposed":  # its epsilon is ONNX's default, 1e-5
        assert difference(run(chosen, images[0]), expected) < 1e-4
    else:
        assert difference(run(chosen, images[0]), expected) < 2e-5


def test_affine_norm_is_exact_where_the_norm_is_affine() -> None:
    """Pixels with the same mean and variance over channels: the norm is one affine map of each channel."""
    random = np.random.default_rng(2)
    images = []
    for _ in range(3):
        order = np.argsort(random.random((16 * 16, 4)), axis=1)
        pixels = np.array([-1.0, 0.5, 2.0, 3.0])[order]
        images.append(np.moveaxis(pixels.reshape(1, 16, 16, 4), -1, 1).astype(np.float32))
    text = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'block.0.norm1')} }}"
    graph = network(text, {**NORM_CONSTANTS, **norm_weights("block.0.norm1", 4)}, seed=5)
    space = build_space(graph, [AffineNorm()], images, [], silent)
    chosen = apply_selection(space, {"block.0/norm1": "affine-norm"})
    assert difference(run(chosen, images[1]), run(graph, images[1])) < 1e-5


def test_bounded_gate_clips_at_the_quantiles() -> None:
    graph, images = network(GATE), scenes(1)
    rule = BoundedGate(tail=0.01)
    low, high = np.quantile(rows(images), [0.01, 0.99])
    view = GraphView(graph)
    assert [site.name for site in rule.sites(view)] == ["block.0"]

    class Loose(BoundedGate):
        tolerance = 1.0

    prepared = prepare(graph, [Loose(tail=0.01)], images)
    assert kinds(prepared.graph) == ["Clip", "Split", "Mul"]
    assert prepared.edits == {"bounded-gate": 1}
    first, second = np.split(np.clip(images[0], low, high), 2, axis=1)
    assert difference(run(prepared.graph, images[0]), first * second) < 1e-5
    bounds = [t.values.item() for t in prepared.graph.nodes[0].inputs[1:]]
    np.testing.assert_allclose(bounds, [low, high], rtol=1e-4)


def test_bounded_gate_applies_once() -> None:
    graph, images = network(GATE), scenes(1)
    prepared = prepare(graph, [BoundedGate(tail=0)], images)
    view = GraphView(to_graph(to_model(prepared.graph)))
    assert list(BoundedGate().sites(view)) == []
    assert view.refusals == [("block.0/mul", "it is bounded already")]
    assert prepare(prepared.graph, [BoundedGate()], images).edits == {"bounded-gate": 0}
    assert difference(run(prepared.graph, images[2]), run(graph, images[2])) < 1e-6  # a tail of 0 cuts nothing


def test_bounded_gate_that_cuts_too_much() -> None:
    with pytest.raises(GraphoptError, match=r"pass bounded-gate: the contract is 'approximate' within 0.01, but the "
                       r"network's output changes by [0-9.]+e-01"):  # fmt: skip
        prepare(network(GATE), [BoundedGate(tail=0.2)], scenes(1))


def test_gates_of_unequal_halves_are_left_alone() -> None:
    text = """(float[1, 4, 16, 16] x) => (float[1, 3, 16, 16] y) {
        a, b = Split<axis = 1>(x, sizes) y = Mul(a, b) }"""
    graph = network(text, {"sizes": np.array([1, 3])})
    assert prepare(graph, [BoundedGate(tail=0)], scenes(1)).edits == {"bounded-gate": 0}


def test_gates_before_another_user_are_refused(nafnet_graph: gs.Graph) -> None:
    nafnet_graph.outputs.append(nafnet_graph.tensors()["encoders_0_0_a"])
    view = GraphView(nafnet_graph)
    assert len(list(BoundedGate().sites(view))) == 5
    assert ("encoders.0.0/sg/mul", "encoders_0_0_a, inside the site, is an output of the graph") in view.refusals
