"""narrow-feed-forward: which channels stay, and the mean of the others."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from clamps import clamped
from graphopt.passes.narrow_feed_forward import NarrowFeedForward
from graphs import difference, inner, network, random_image, refused, rewritten, run, site_names

IMAGES = [random_image(1, 4, 12, 12, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
X_TO_Y = "(float[1, 4, 12, 12] x) => (float[1, 4, 12, 12] y)"


def feed_forward(clip: bool = False, kernel: int = 1, biases: str = "45", dead: bool = False) -> gs.Graph:
    """conv4 -> gate of 6 -> conv5 on 4 channels; with `dead`, channels 1, 2 and 5 of the gate are constant."""
    random = np.random.default_rng(3)
    weight4, bias4 = random.normal(size=(12, 4, kernel, kernel)), random.normal(size=12)
    if dead:
        weight4[[1, 2, 5, 7, 8, 11]] = 0
    pads = f"pads = [{kernel // 2}, {kernel // 2}, {kernel // 2}, {kernel // 2}]"
    clamp = '["b.0/clip"] k = Clip(f, low, high)' if clip else '["b.0/clip"] k = Identity(f)'
    text = f"""{X_TO_Y} {{
        ["b.0/conv4/conv"] f = Conv<{pads}>(x, w4{", b4" if "4" in biases else ""}) {clamp}
        ["b.0/split"] a, c = Split<axis = 1, num_outputs = 2>(k) ["b.0/mul"] g = Mul(c, a)
        ["b.0/conv5/conv"] y = Conv<{pads}>(g, w5{", b5" if "5" in biases else ""}) }}"""
    values = {"w4": weight4, "b4": bias4, "w5": (4, 6, kernel, kernel), "b5": (4,)}
    return network(text, {**values, "low": np.float32(-1.5), "high": np.float32(1.5)})


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("biases", ["", "4", "5", "45"])
def test_channels_that_say_nothing_go_for_free(clip: bool, biases: str) -> None:
    graph = feed_forward(clip, biases=biases, dead=True)
    chosen = rewritten(graph, NarrowFeedForward(share=0.5), IMAGES)
    convs = [node for node in chosen.nodes if node.op == "Conv"]
    assert [conv.inputs[1].values.shape for conv in convs] == [(6, 4, 1, 1), (4, 3, 1, 1)]
    np.testing.assert_array_equal(convs[1].inputs[1].values, graph.tensors()["w5"].values[:, [0, 3, 4]])
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("share", "kept"), [(0.01, 1), (0.34, 2), (0.5, 3), (0.9, 5)])
def test_the_most_important_channels_stay(share: float, kept: int, kernel: int) -> None:
    graph = feed_forward(kernel=kernel)
    chosen = rewritten(graph, NarrowFeedForward(share=share), IMAGES)
    gates = np.concatenate([np.moveaxis(inner(graph, image, "g")[0][0], 0, -1).reshape(-1, 6) for image in IMAGES])
    weight4, weight5, bias5 = (graph.tensors()[name].values for name in ("w4", "w5", "b5"))
    importance = [gates[:, i].var() * np.sum(weight5[:, i] ** 2) for i in range(6)]
    best = sorted(np.argsort(importance)[::-1][:kept])
    conv4, conv5 = (node for node in chosen.nodes if node.op == "Conv")
    np.testing.assert_array_equal(conv4.inputs[1].values, weight4[[*best, *(i + 6 for i in best)]])
    np.testing.assert_array_equal(conv5.inputs[1].values, weight5[:, best])
    gone = [i for i in range(6) if i not in best]
    expected = bias5 + weight5[:, gone].sum(axis=(2, 3)) @ gates[:, gone].mean(axis=0)
    np.testing.assert_allclose(conv5.inputs[2].values, expected, rtol=1e-4, atol=1e-5)


def test_narrow_feed_forward_keeps_the_mean() -> None:
    graph = feed_forward()
    chosen = rewritten(graph, NarrowFeedForward(share=0.5), IMAGES)
    mean = [np.mean([run(g, image).mean(axis=(0, 2, 3)) for image in IMAGES], axis=0) for g in (graph, chosen)]
    np.testing.assert_allclose(mean[1], mean[0], rtol=1e-4, atol=1e-5)


def test_sites_and_their_clamps(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    blocks, graph = ("encoders.0.0", "middle_blks.0", "decoders.0.0"), clamped(nafnet_graph, images)
    for made in (nafnet_graph, graph):
        assert site_names(made, NarrowFeedForward()) == [f"{block}/feed-forward-width" for block in blocks]
    chosen = rewritten(graph, NarrowFeedForward(), images, "middle_blks.0/feed-forward-width")
    clips = [[node for node in made.nodes if node.op == "Clip"] for made in (graph, chosen)]
    before, after = ([[t.values.item() for t in node.inputs[1:]] for node in nodes] for nodes in clips)
    assert len(before) == 6
    np.testing.assert_allclose(after, before)


def test_gates_that_are_not_halves() -> None:
    text = f"""{X_TO_Y} {{ f = Conv(x, w4) a, b, c = Split<axis = 1, num_outputs = 3>(f) g = Mul(a, b)
        y = Conv(g, w5) }}"""
    graph = network(text, {"w4": (9, 4, 1, 1), "w5": (4, 3, 1, 1)})
    assert refused(graph, NarrowFeedForward()) == ["expected the product of two halves, found 3 of 9 channels"]


@pytest.mark.parametrize("share", [0.0, 1.0, -2.0])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ValueError, match=f"option 'share' is {share}; expected a number between 0 and 1"):
        NarrowFeedForward(share=share)
