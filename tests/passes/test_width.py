"""skip-spatial, skip-block, narrow-feed-forward and narrow-spatial."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.bounded_gate import BoundedGate
from graphopt.passes.narrow_feed_forward import NarrowFeedForward
from graphopt.passes.narrow_spatial import NarrowSpatial
from graphopt.passes.skip_block import SkipBlock
from graphopt.passes.skip_feed_forward import SkipFeedForward
from graphopt.passes.skip_spatial import SkipSpatial
from graphs import difference, inner, network, random_image, refused, rewritten, run

from graphopt.ir.passes import Pass
from graphopt.ir.space_building import build_space, prepare
from graphopt.ir.view import GraphView

IMAGES = [random_image(1, 4, 12, 12, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
X_TO_Y = "(float[1, 4, 12, 12] x) => (float[1, 4, 12, 12] y)"


class Loose(BoundedGate):
    tolerance = 1.0


def silent(share: float, text: str) -> None: ...


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize(
    ("rule", "site", "left_out"),
    [
        (SkipSpatial(), "middle_blks.0/spatial", "middle_blks_0_y"),
        (SkipBlock(), "middle_blks.0", "mid"),
    ],
)
def test_skipping_is_the_input(
    nafnet_graph: gs.Graph, images: list[np.ndarray], rule: Pass, site: str, left_out: str, clamped: bool
) -> None:
    graph = prepare(nafnet_graph, [Loose(tail=0.01)], images).graph if clamped else nafnet_graph
    chosen = rewritten(graph, rule, images, site)
    expected = graph.copy()
    for user in list(expected.tensors()[left_out].outputs):
        for position, tensor in enumerate(user.inputs):
            if tensor.name == left_out:
                user.inputs[position] = expected.tensors()["down"]
    assert len(chosen.nodes) == len(expected.cleanup().nodes)
    np.testing.assert_array_equal(run(chosen, images[0]), run(expected, images[0]))
    assert difference(run(chosen, images[0]), run(graph, images[0])) > 1e-3


def test_halves_are_nested_in_blocks(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    rules = [SkipBlock(), SkipSpatial(), SkipFeedForward(), NarrowSpatial(), NarrowFeedForward()]
    space = build_space(nafnet_graph, rules, images, [], silent)
    parents = {name: choice.parent for name, choice in space.choices.items() if name.startswith("decoders")}
    assert parents == {
        "decoders.0.0": None,
        "decoders.0.0/spatial": "decoders.0.0",
        "decoders.0.0/feed-forward": "decoders.0.0",
        "decoders.0.0/spatial-width": "decoders.0.0/spatial",
        "decoders.0.0/feed-forward-width": "decoders.0.0/feed-forward",
    }
    assert space.refusals == []


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


@pytest.mark.parametrize("rule", [NarrowFeedForward, NarrowSpatial])
@pytest.mark.parametrize("share", [0.0, 1.0, -2.0])
def test_shares_that_are_none(rule: type[NarrowFeedForward], share: float) -> None:
    with pytest.raises(ValueError, match=f"option 'share' is {share}; expected a number between 0 and 1"):
        rule(share=share)


def test_gates_that_are_not_halves() -> None:
    text = f"""{X_TO_Y} {{ f = Conv(x, w4) a, b, c = Split<axis = 1, num_outputs = 3>(f) g = Mul(a, b)
        y = Conv(g, w5) }}"""
    graph = network(text, {"w4": (9, 4, 1, 1), "w5": (4, 3, 1, 1)})
    assert refused(graph, NarrowFeedForward()) == ["expected the product of two halves, found 3 of 9 channels"]


def spatial(attention: bool = True, depthwise: bool = True, dead: bool = False) -> gs.Graph:
    """conv1 -> dw3x3 -> gate of 6 -> attention -> conv3 on 4 channels."""
    random = np.random.default_rng(5)
    weight1 = random.normal(size=(12, 4, 1, 1))
    bias1 = np.zeros(12)
    if dead:  # constant also at the padded border
        weight1[[1, 2, 5, 7, 8, 11]] = 0
    attended = 'p = GlobalAveragePool(g) ["b.0/sca.1/conv"] at = Conv(p, wa, ba) ["b.0/mul_2"] z = Mul(at, g)'
    group = 12 if depthwise else 1
    text = f"""{X_TO_Y} {{
        ["b.0/conv1/conv"] e = Conv(x, w1, b1)
        ["b.0/conv2/conv"] f = Conv<pads = [1, 1, 1, 1], group = {group}>(e, w2, b2)
        ["b.0/split"] a, c = Split<axis = 1, num_outputs = 2>(f) ["b.0/mul"] g = Mul(a, c)
        {attended if attention else ""} ["b.0/conv3/conv"] y = Conv({"z" if attention else "g"}, w3) }}"""
    return network(
        text,
        {
            "w1": weight1, "b1": bias1, "w2": (12, 12 // group, 3, 3), "b2": (12,), "wa": (6, 6, 1, 1), "ba": (6,),
            "w3": (4, 6, 1, 1),
        },
    )  # fmt: skip


@pytest.mark.parametrize("attention", [False, True])
def test_spatial_channels_that_say_nothing_go_for_free(attention: bool) -> None:
    """Without attention their constant moves into conv3; with it, into the attention of the others."""
    graph = spatial(attention, dead=True)
    if attention:  # a constant channel times an attention still speaks: silence it behind
        graph.tensors()["w3"].values[:, [1, 2, 5]] = 0
    chosen = rewritten(graph, NarrowSpatial(share=0.5), IMAGES)
    shapes = [node.inputs[1].values.shape for node in chosen.nodes if node.op == "Conv"]
    assert shapes == [(6, 4, 1, 1), (6, 1, 3, 3), *([(3, 3, 1, 1)] if attention else []), (4, 3, 1, 1)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 2e-5


def test_narrow_spatial_is_the_network_of_its_channels() -> None:
    graph = spatial()
    chosen = rewritten(graph, NarrowSpatial(share=0.34), IMAGES)
    carried, gates = (
        np.concatenate([np.moveaxis(inner(graph, image, name)[0][0], 0, -1).reshape(-1, 6) for image in IMAGES])
        for name in ("z", "g")
    )
    values = {name: tensor.values for name, tensor in graph.tensors().items() if isinstance(tensor, gs.Constant)}
    importance = carried.var(axis=0) * (values["w3"] ** 2).sum(axis=(0, 2, 3))
    best = np.sort(np.argsort(importance)[::-1][:2])
    gone = np.setdiff1d(np.arange(6), best)
    # independently: the gate and the attention of the kept channels, by the original's own arithmetic
    (gate,) = inner(graph, IMAGES[1], "g")
    wa = values["wa"][:, :, 0, 0]
    attention = wa[np.ix_(best, best)] @ gate[0, best].mean(axis=(1, 2))
    attention += values["ba"][best] + wa[np.ix_(best, gone)] @ gates[:, gone].mean(axis=0)
    result = np.einsum("oi,ihw->ohw", values["w3"][:, best, 0, 0], gate[0, best] * attention[:, None, None])
    result += (values["w3"][:, gone, 0, 0] @ carried[:, gone].mean(axis=0))[:, None, None]
    assert difference(run(chosen, IMAGES[1]), result[None]) < 1e-5


def test_narrow_spatial_needs_a_depthwise_convolution() -> None:
    reasons = refused(spatial(depthwise=False), NarrowSpatial())
    assert reasons == ["expected a depthwise convolution before the gate, found a weight of shape (12, 12, 3, 3)"]


def test_narrow_passes_hold_clamps(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    graph = prepare(nafnet_graph, [Loose(tail=0.01)], images).graph
    for rule in (NarrowFeedForward(), NarrowSpatial()):
        (site,) = (site for site in rule.sites(GraphView(graph)) if site.name.startswith("middle"))
        before = [node for node in graph.nodes if node.op == "Clip"]
        chosen = rewritten(graph, rule, images, site.name)
        after = [node for node in chosen.nodes if node.op == "Clip"]
        bounds = [[[t.values.item() for t in node.inputs[1:]] for node in nodes] for nodes in (before, after)]
        np.testing.assert_allclose(bounds[1], bounds[0])
