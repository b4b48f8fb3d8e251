"""static-attention, partial-depthwise and skip-feed-forward."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.partial_depthwise import PartialDepthwise
from graphopt.passes.skip_feed_forward import SkipFeedForward
from graphopt.passes.static_attention import StaticAttention
from graphs import NORM_CONSTANTS, difference, kinds, layer_norm, network, norm_weights, random_image, run

from graphopt.ir.canonical import to_model
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.session import OnnxSession
from graphopt.ir.space_building import build_space
from graphopt.ir.view import GraphView

IMAGES = [random_image(1, 8, 12, 12, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
X_TO_Y = "(float[1, 8, 12, 12] x) => (float[1, 8, 12, 12] y)"


def silent(share: float, text: str) -> None: ...


def attention(pool: str, mul: str) -> gs.Graph:
    text = f'{X_TO_Y} {{ p = {pool} ["b.0/conv"] a = Conv(p, w, bias) ["b.0/mul"] y = Mul({mul}) }}'
    return network(text, {"w": (8, 8, 1, 1), "bias": (8,), "axes": np.array([2, 3])})


@pytest.mark.parametrize("pool", ["ReduceMean<keepdims = 1>(x, axes)", "GlobalAveragePool(x)"])
@pytest.mark.parametrize("mul", ["x, a", "a, x"])
@pytest.mark.parametrize("start", ["mean", "one"])
def test_static_attention_is_the_mean_attention(pool: str, mul: str, start: str) -> None:
    graph = attention(pool, mul)
    space = build_space(graph, [StaticAttention(start=start)], IMAGES, [], silent)
    (name,) = space.choices
    chosen = apply_selection(space, {name: "static-attention"})
    assert kinds(chosen) == ["Mul"]
    weight, bias = (graph.tensors()[n].values for n in ("w", "bias"))
    attentions = [weight[:, :, 0, 0] @ image.mean(axis=(2, 3))[0] + bias for image in IMAGES]
    scale = np.mean(attentions, axis=0) if start == "mean" else np.ones(8)
    assert difference(run(chosen, IMAGES[1]), IMAGES[1] * scale.reshape(1, -1, 1, 1)) < 1e-5


def test_spatial_attention_is_none() -> None:
    text = f"{X_TO_Y} {{ p = ReduceMean<keepdims = 1>(x, axes) a = Conv(p, w) y = Mul(x, a) }}"
    view = GraphView(network(text, {"w": (8, 1, 1, 1), "axes": np.array([1])}))
    assert list(StaticAttention().sites(view)) == []
    assert view.refusals == [("mul", "reducemean: attribute axes: expected (2, 3), found (1,)")]


def depthwise(attributes: str = "pads = [1, 1, 1, 1], group = 8", bias: bool = True, kernel: int = 3) -> gs.Graph:
    operands = "x, w, bias" if bias else "x, w"
    text = f'{X_TO_Y} {{ ["b.0/conv2/conv"] y = Conv<{attributes}>({operands}) }}'
    return network(text, {"w": (8, 1, kernel, kernel), "bias": (8,)})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("share", "kept"), [(0.5, 4), (0.25, 2), (0.01, 1), (0.99, 7)])
@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ("pads = [1, 1, 1, 1], group = 8", 3),
        ("pads = [2, 2, 2, 2], dilations = [2, 2], group = 8", 3),
        ('auto_pad = "SAME_UPPER", group = 8', 3),
    ],
)
def test_partial_depthwise(attributes: str, kernel: int, bias: bool, share: float, kept: int) -> None:
    graph = depthwise(attributes, bias, kernel)
    space = build_space(graph, [PartialDepthwise(share=share)], IMAGES, [], silent)
    chosen = apply_selection(space, {"b.0/conv2": "partial-depthwise"})
    assert kinds(chosen) == ["Mul", "Add", "Split", "Conv", "Concat"]
    full, found = run(graph, IMAGES[0]), run(chosen, IMAGES[0])
    # the kept channels are convolved as before, the others are a line through (x, dw(x))
    assert difference(found[:, :kept], full[:, :kept]) < 1e-5
    results = [run(graph, image) for image in IMAGES]
    for channel in range(kept, 8):
        x = np.concatenate([image[0, channel].ravel() for image in IMAGES]).astype(np.float64)
        y = np.concatenate([result[0, channel].ravel() for result in results])
        slope, offset = np.polyfit(x, y, 1)
        np.testing.assert_allclose(found[0, channel], slope * IMAGES[0][0, channel] + offset, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "shapes", "expected"),
    [
        ("y = Conv<pads = [1, 1, 1, 1]>(x, w)", (8, 8, 3, 3), "expected a depthwise convolution, found 1 groups for 8 channels"),
        (
            "y = Conv<pads = [1, 1, 1, 1], group = 4>(x, w)", (8, 2, 3, 3),
            "expected a depthwise convolution, found 4 groups for 8 channels",
        ),
        (
            "a = Conv<group = 8>(x, w) y = Pad(a, pads)", (8, 1, 3, 3),
            "expected a convolution that keeps the size, found [12, 12] and [10, 10]",
        ),
        ("y = Conv<group = 8>(x, w)", (8, 1, 1, 1), None),  # 1x1: a scale already
        ("a = Conv<group = 8, strides = [2, 2], pads = [1, 1, 1, 1]>(x, w) y = Resize(a,, twice)", (8, 1, 3, 3), None),
    ],
)  # fmt: skip
def test_convolutions_that_stay_whole(text: str, shapes: tuple[int, ...], expected: str | None) -> None:
    weights = {"w": shapes, "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "twice": np.array([1, 1, 2, 2], np.float32)}
    view = GraphView(network(f"{X_TO_Y} {{ {text} }}", weights))
    assert list(PartialDepthwise().sites(view)) == []
    assert [reason for _, reason in view.refusals] == ([expected] if expected else [])


def test_depthwise_with_few_channels() -> None:
    text = "(float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y) { y = Conv<pads = [1, 1, 1, 1], group = 2>(x, w) }"
    view = GraphView(network(text, {"w": (2, 1, 3, 3)}))
    assert list(PartialDepthwise().sites(view)) == []
    assert view.refusals == [("conv", "expected 4 channels or more, found 2")]


def test_skip_feed_forward_is_its_input(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    space = build_space(nafnet_graph, [SkipFeedForward()], images, [], silent)
    site = space.choices["middle_blks.0/feed-forward"].site
    assert site.nodes[0] == "middle_blks.0/norm2/reducemean"
    assert site.nodes[-1] == "middle_blks.0/add_2"
    chosen = apply_selection(space, {"middle_blks.0/feed-forward": "skip-feed-forward"})
    assert len(chosen.nodes) == len(nafnet_graph.nodes) - len(site.nodes)
    # in the original, the upsampling reads y instead of y + gamma conv5(...)
    expected = nafnet_graph.copy()
    tensors = expected.tensors()
    wide = next(node for node in expected.nodes if node.name == "ups.0.0/conv")
    wide.inputs[0] = tensors[site.inputs["y"]]
    np.testing.assert_array_equal(run(chosen, images[0]), run(expected.cleanup(), images[0]))


def test_the_last_feed_forward_may_end_the_network(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    nafnet_graph.outputs = [nafnet_graph.tensors()["enc"]]
    graph = nafnet_graph.cleanup()
    space = build_space(graph, [SkipFeedForward()], images, [], silent)
    chosen = apply_selection(space, {"encoders.0.0/feed-forward": "skip-feed-forward"})
    session = OnnxSession(to_model(graph), ["encoders_0_0_y"])
    (before,) = session.run_named({"image": images[0]}, ["encoders_0_0_y"])
    assert [tensor.name for tensor in chosen.outputs] == ["enc"]
    np.testing.assert_allclose(run(chosen, images[0]), before, rtol=1e-4, atol=1e-4)


def test_a_feed_forward_without_gamma_and_with_a_clamp(images: list[np.ndarray]) -> None:
    text = f"""(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {{
        {layer_norm("x", "n", "b.0.norm2", "transposed")}
        ["b.0/conv4/conv"] f = Conv(n, w4) ["b.0/clip"] k = Clip(f, low, high)
        ["b.0/split"] a, b = Split<axis = 1, num_outputs = 2>(k) ["b.0/mul"] g = Mul(a, b)
        ["b.0/conv5/conv"] c = Conv(g, w5, b5) ["b.0/add"] y = Add(c, x) }}"""
    weights = {"w4": (6, 3, 1, 1), "w5": (3, 3, 1, 1), "b5": (3,), "low": np.float32(-1), "high": np.float32(1)}
    graph = network(text, {**NORM_CONSTANTS, **norm_weights("b.0.norm2", 3, "transposed"), **weights})
    space = build_space(graph, [SkipFeedForward()], images, [], silent)
    (name,) = space.choices
    assert len(space.choices[name].site.nodes) == len(graph.nodes)
    np.testing.assert_array_equal(run(apply_selection(space, {name: "skip-feed-forward"}), images[0]), images[0])
