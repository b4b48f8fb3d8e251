"""narrow-spatial: which channels stay from conv1 to conv3, attention included."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from clamps import clamped
from graphopt.passes.narrow_spatial import NarrowSpatial
from graphs import difference, inner, network, random_image, refused, rewritten, run, site_names

IMAGES = [random_image(1, 4, 12, 12, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
X_TO_Y = "(float[1, 4, 12, 12] x) => (float[1, 4, 12, 12] y)"


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


def test_sites_and_their_clamps(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    blocks, graph = ("encoders.0.0", "middle_blks.0", "decoders.0.0"), clamped(nafnet_graph, images)
    for made in (nafnet_graph, graph):
        assert site_names(made, NarrowSpatial()) == [f"{block}/spatial-width" for block in blocks]
    chosen = rewritten(graph, NarrowSpatial(), images, "middle_blks.0/spatial-width")
    clips = [[node for node in made.nodes if node.op == "Clip"] for made in (graph, chosen)]
    before, after = ([[t.values.item() for t in node.inputs[1:]] for node in nodes] for nodes in clips)
    assert len(before) == 6
    np.testing.assert_allclose(after, before)


def test_narrow_spatial_needs_a_depthwise_convolution() -> None:
    reasons = refused(spatial(depthwise=False), NarrowSpatial())
    assert reasons == ["expected a depthwise convolution before the gate, found a weight of shape (12, 12, 3, 3)"]


@pytest.mark.parametrize("share", [0.0, 1.0, -2.0])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ValueError, match=f"option 'share' is {share}; expected a number between 0 and 1"):
        NarrowSpatial(share=share)
