"""merge-depthwise, split-depthwise, low-rank-pointwise, list-conv and gsat-conv."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.gsat_conv import GsatConv
from graphopt.passes.list_conv import ListConv
from graphopt.passes.low_rank_pointwise import LowRankPointwise
from graphopt.passes.merge_depthwise import MergeDepthwise
from graphopt.passes.split_depthwise import SplitDepthwise
from graphs import difference, kinds, network, random_image, refused, rewritten, run

IMAGES = [random_image(1, 8, 12, 10, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
SIGNATURE = "(float[1, 8, 12, 10] x) => (float[1, {}, {}, {}] y)"
BIASED = ["the 1x1 has a bias, which zero padding hides at the border; option `border: plane` adds it there"]
FLAT = np.full((1, 8, 12, 10), 1, np.float32) * np.linspace(-1, 2, 8, dtype=np.float32).reshape(1, 8, 1, 1)


def middle(image: np.ndarray, border: int = 2) -> np.ndarray:
    return image[:, :, border:-border, border:-border]


def pair(attributes: str, biases: str = "", multiplier: int = 1, size: tuple[int, int] = (12, 10)) -> gs.Graph:
    """1x1 8 -> 6, then depthwise 3x3 6 -> 6 * multiplier."""
    outputs = 6 * multiplier
    text = f"""{SIGNATURE.format(outputs, *size)} {{ e = Conv(x, w1{", b1" if "1" in biases else ""})
        y = Conv<group = 6, {attributes}>(e, w2{", b2" if "2" in biases else ""}) }}"""
    weights = {"w1": (6, 8, 1, 1), "b1": (6,), "w2": (outputs, 1, 3, 3), "b2": (outputs,)}
    return network(text, weights)


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    ("attributes", "biases", "size"),
    [
        ("pads = [1, 1, 1, 1]", "", (12, 10)),
        ("pads = [1, 1, 1, 1]", "2", (12, 10)),
        ("pads = [0, 1, 2, 1], dilations = [1, 1]", "2", (12, 10)),
        ("strides = [2, 2], pads = [1, 1, 1, 1]", "2", (6, 5)),
        ('auto_pad = "SAME_UPPER"', "2", (12, 10)),
        ("pads = [0, 0, 0, 0]", "1", (10, 8)),  # no border: the bias is the same everywhere
        ("dilations = [2, 2]", "12", (8, 6)),
    ],
)
def test_merge_depthwise_is_exact(attributes: str, biases: str, size: tuple[int, int], multiplier: int) -> None:
    graph = pair(attributes, biases, multiplier, size)
    chosen = rewritten(graph, MergeDepthwise(), IMAGES)
    assert kinds(chosen) == ["Conv"]
    assert chosen.nodes[0].inputs[1].values.shape == (6 * multiplier, 8, 3, 3)
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 2e-6


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("pads = [1, 1, 1, 1]", (12, 10)),
        ("pads = [0, 1, 2, 1]", (12, 10)),
        ("strides = [2, 2], pads = [1, 1, 1, 1]", (6, 5)),
        ("pads = [2, 2, 2, 2], dilations = [2, 2]", (12, 10)),
    ],
)
@pytest.mark.parametrize("biases", ["1", "12"])
def test_a_bias_before_a_border(attributes: str, size: tuple[int, int], biases: str) -> None:
    graph = pair(attributes, biases, size=size)
    assert refused(graph, MergeDepthwise()) == BIASED
    chosen = rewritten(graph, MergeDepthwise(border="plane"), IMAGES)
    assert kinds(chosen) == ["Conv", "Add"]
    found, expected = run(chosen, IMAGES[0]), run(graph, IMAGES[0])
    assert difference(found, expected) < 2e-6
    plane = chosen.nodes[1].inputs[1].values
    assert np.ptp(plane[0, :, 1:-2, 1:-2], axis=(1, 2)).max() < 1e-6 or size != (12, 10) or "dil" in attributes
    assert np.ptp(plane[0], axis=(1, 2)).min() > 1e-3  # the border matters: one bias could not do


def test_merge_depthwise_with_a_bias_of_zeros() -> None:
    graph = pair("pads = [1, 1, 1, 1]", "1")
    graph.tensors()["b1"].values[:] = 0
    assert difference(run(rewritten(graph, MergeDepthwise(), IMAGES), IMAGES[0]), run(graph, IMAGES[0])) < 2e-6


@pytest.mark.parametrize("border", ["refuse", "plane"])
def test_merge_depthwise_refuses(border: str) -> None:
    automatic = pair('auto_pad = "SAME_UPPER"', "1")
    reasons = refused(automatic, MergeDepthwise(border=border))
    assert reasons == ["the 1x1 has a bias, and the padding of the depthwise convolution is not written out"]
    text = f"{SIGNATURE.format(6, 12, 10)} {{ e = Conv(x, w1) y = Conv<pads = [1, 1, 1, 1], group = 2>(e, w2) }}"
    graph = network(text, {"w1": (6, 8, 1, 1), "w2": (6, 3, 3, 3)})
    reasons = refused(graph, MergeDepthwise(border=border))
    assert reasons == ["expected a depthwise convolution behind the 1x1, found 2 groups for 6 channels"]
    text = f"{SIGNATURE.format(6, 12, 10)} {{ e = Conv(x, w1) f = Conv<pads = [1, 1, 1, 1], group = 6>(e, w2) y = Add(e, f) }}"
    reasons = refused(network(text, {"w1": (6, 8, 1, 1), "w2": (6, 1, 3, 3)}), MergeDepthwise())
    assert reasons == ["conv, inside the site, is also used by add"]


def depthwise(weight: Any, attributes: str, size: tuple[int, int] = (12, 10), bias: bool = True) -> gs.Graph:
    text = f"{SIGNATURE.format(8, *size)} {{ y = Conv<group = 8, {attributes}>(x, w{', b' if bias else ''}) }}"
    return network(text, {"w": weight, "b": (8,)})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("pads = [1, 1, 1, 1]", (12, 10)),
        ("kernel_shape = [3, 3], pads = [0, 1, 2, 0]", (12, 9)),
        ("strides = [2, 1], pads = [1, 1, 1, 1]", (6, 10)),
        ("pads = [2, 2, 2, 2], dilations = [2, 2]", (12, 10)),
        ('auto_pad = "SAME_UPPER", strides = [2, 2]', (6, 5)),
    ],
)
def test_split_depthwise_is_exact_for_separable_kernels(attributes: str, size: tuple[int, int], bias: bool) -> None:
    random = np.random.default_rng(1)
    weight = random.normal(size=(8, 1, 3, 1)) * random.normal(size=(8, 1, 1, 3))
    graph = depthwise(weight, attributes, size, bias)
    chosen = rewritten(graph, SplitDepthwise(), IMAGES)
    assert [node.inputs[1].values.shape for node in chosen.nodes] == [(8, 1, 1, 3), (8, 1, 3, 1)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_split_depthwise_is_the_best_rank_one_kernel() -> None:
    graph = depthwise((8, 1, 3, 3), "pads = [1, 1, 1, 1]")
    row, column = (node.inputs[1].values for node in rewritten(graph, SplitDepthwise(), IMAGES).nodes)
    weight = graph.tensors()["w"].values
    values = np.linalg.svd(weight[:, 0], compute_uv=False)
    lost = np.square(weight - column * row).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(lost, np.square(values[:, 1:]).sum(axis=1), rtol=1e-4)
    chosen = rewritten(graph, SplitDepthwise(), [FLAT])
    assert difference(middle(run(chosen, FLAT)), middle(run(graph, FLAT))) < 1e-5  # the mean stays


def test_split_depthwise_refuses() -> None:
    text = f"{SIGNATURE.format(8, 12, 10)} {{ y = Conv<pads = [1, 1, 1, 1]>(x, w) }}"
    reasons = refused(network(text, {"w": (8, 8, 3, 3)}), SplitDepthwise())
    assert reasons == ["expected a depthwise convolution, found 1 groups for 8 channels"]
    assert refused(depthwise((8, 1, 1, 3), "pads = [0, 1, 0, 1]"), SplitDepthwise()) == []


def pointwise(weight: Any, bias: bool = True, attributes: str = "", size: tuple[int, int] = (12, 10)) -> gs.Graph:
    text = f"{SIGNATURE.format(6, *size)} {{ y = Conv{attributes}(x, w{', b' if bias else ''}) }}"
    return network(text, {"w": weight, "b": (6,)})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("attributes", "size"), [("", (12, 10)), ("<strides = [2, 2], kernel_shape = [1, 1]>", (6, 5))]
)
def test_low_rank_pointwise_is_exact_for_low_rank(bias: bool, attributes: str, size: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    weight = (random.normal(size=(6, 2)) @ random.normal(size=(2, 8))).reshape(6, 8, 1, 1)
    graph = pointwise(weight, bias, attributes, size)
    chosen = rewritten(graph, LowRankPointwise(share=0.33), IMAGES)
    assert [node.inputs[1].values.shape for node in chosen.nodes] == [(2, 8, 1, 1), (6, 2, 1, 1)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_low_rank_pointwise_loses_the_least_that_it_can() -> None:
    """Against Eckart-Young on the responses themselves, whose second moment is what must be kept."""
    spread = np.float32([6, 4, 2, 1, 0.5, 0.3, 0.2, 0.1]).reshape(1, 8, 1, 1)
    images = [image * spread for image in IMAGES]
    graph = pointwise((6, 8, 1, 1), bias=False)
    chosen = rewritten(graph, LowRankPointwise(share=0.33), images)
    lost = sum(np.square(run(chosen, image) - run(graph, image)).sum() for image in images)
    responses = np.concatenate([run(graph, image)[0].reshape(6, -1) for image in images], axis=1)
    assert lost < 1.02 * np.square(np.linalg.svd(responses, compute_uv=False)[2:]).sum()
    means = [np.mean([run(g, image).mean(axis=(0, 2, 3)) for image in images], axis=0) for g in (graph, chosen)]
    np.testing.assert_allclose(means[1], means[0], atol=1e-5)


def test_low_rank_pointwise_refuses() -> None:
    assert refused(pointwise((6, 8, 1, 1)), LowRankPointwise(share=0.6)) == ["rank 4 of 6x8 saves nothing"]
    text = "(float[1, 8, 12, 10] x) => (float[1, 8, 1, 1] y) { p = GlobalAveragePool(x) y = Conv(p, w) }"
    reasons = refused(network(text, {"w": (8, 8, 1, 1)}), LowRankPointwise())
    assert reasons == ["it reads one pixel: narrow-attention is for these"]
    with pytest.raises(ValueError, match="option 'share' is 0; expected a number between 0 and 1"):
        LowRankPointwise(share=0)


def dense(weight: Any, attributes: str = "pads = [1, 1, 1, 1]", outputs: int = 6, bias: bool = True) -> gs.Graph:
    text = f"{SIGNATURE.format(outputs, 12, 10)} {{ y = Conv<{attributes}>(x, w{', b' if bias else ''}) }}"
    return network(text, {"w": weight, "b": (outputs,)})


@pytest.mark.parametrize("bias", [True, False])
def test_list_conv_is_exact_for_what_it_can_hold(bias: bool) -> None:
    """Two directions of the inputs; the first outputs see centres only, the others one kernel for each direction."""
    random = np.random.default_rng(3)
    squeeze = np.linalg.qr(random.normal(size=(8, 2)))[0].T  # (2, 8)
    kernels = random.normal(size=(2, 3, 3))
    centre = np.zeros((3, 3))
    centre[1, 1] = 1
    # one direction only: then the factors are unique up to scale
    squeeze = squeeze[:1]
    first = random.normal(size=(3, 1, 1, 1)) * centre
    second = random.normal(size=(4, 1, 1, 1)) * kernels[0]
    weight = np.einsum("orkl,ri->oikl", np.concatenate([first, second]), squeeze)
    graph = dense(weight, outputs=7, bias=bias)
    chosen = rewritten(graph, ListConv(), IMAGES)
    assert kinds(chosen) == ["Conv", "Conv", "Conv", "Conv", "Concat"]
    shapes = sorted(node.inputs[1].values.shape for node in chosen.nodes if node.op == "Conv")
    assert shapes == [(2, 1, 3, 3), (2, 8, 1, 1), (3, 2, 1, 1), (4, 2, 1, 1)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_list_conv_keeps_the_mean() -> None:
    graph = dense((6, 8, 3, 3))
    chosen = rewritten(graph, ListConv(), [FLAT])
    assert difference(middle(run(chosen, FLAT)), middle(run(graph, FLAT))) < 1e-5


def test_the_first_half_of_list_conv_is_the_least_squares_fit() -> None:
    """What it leaves over is not correlated with what it reads (all pixels are calibration samples)."""
    graph = dense((6, 8, 3, 3))
    chosen = rewritten(graph, ListConv(), IMAGES)
    squeeze = next(t.values for name, t in chosen.tensors().items() if name.endswith("squeeze"))[:, :, 0, 0]
    read = np.concatenate([(squeeze @ image[0].reshape(8, -1)).T for image in IMAGES])
    left = np.concatenate([(run(graph, i) - run(chosen, i))[0, :3].reshape(3, -1).T for i in IMAGES])
    correlation = np.corrcoef(read.T, left.T)[:2, 2:]
    assert np.abs(correlation).max() < 1e-5
    original = np.concatenate([run(graph, i)[0, :3].reshape(3, -1).T for i in IMAGES])
    assert np.abs(np.corrcoef(read.T, original.T)[:2, 2:]).max() > 0.1


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (dense((6, 4, 3, 3), "pads = [1, 1, 1, 1], group = 2"), "expected a dense convolution, found 2 groups"),
        (
            network(f"{SIGNATURE.format(6, 10, 8)} {{ y = Conv(x, w) }}", {"w": (6, 8, 3, 3)}),
            "expected a convolution that keeps the size, found [12, 10] and [10, 8]",
        ),
        (dense((1, 8, 3, 3), outputs=1), "expected 4 inputs and 2 outputs or more, found 8 and 1"),
    ],
)
def test_list_conv_refuses(graph: gs.Graph, reason: str) -> None:
    assert set(refused(graph, ListConv())) == {reason}


DILATED = "pads = [2, 2, 2, 2], dilations = [2, 2]"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("groups", "outputs"), [(2, 6), (4, 8), (2, 8)])
def test_gsat_conv_is_exact_for_what_it_can_hold(groups: int, outputs: int, bias: bool) -> None:
    weight = np.random.default_rng(4).normal(size=(outputs, 8, 3, 3))
    for output in range(outputs):
        for i in range(8):
            weight[output, i] *= output % groups == i // (8 // groups)
    graph = dense(weight, DILATED, outputs, bias)
    chosen = rewritten(graph, GsatConv(groups=groups), IMAGES)
    assert kinds(chosen) == ["Conv", "Reshape", "Transpose", "Reshape", "Conv"]
    assert [node.attrs["group"] for node in chosen.nodes if node.op == "Conv"] == [groups, groups]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_gsat_conv_mixes_all_groups_and_keeps_the_mean() -> None:
    graph = dense((8, 8, 3, 3), DILATED, 8)
    chosen = rewritten(graph, GsatConv(groups=2), [FLAT])
    assert difference(middle(run(chosen, FLAT), 3), middle(run(graph, FLAT), 3)) < 1e-5
    mix = chosen.nodes[-1].inputs[1].values
    mix[:] = np.random.default_rng(5).normal(size=mix.shape)
    changed = IMAGES[0].copy()
    changed[:, 0] += 1  # one input reaches outputs of both groups of the 1x1
    reached = np.abs(run(chosen, changed) - run(chosen, IMAGES[0])).max(axis=(0, 2, 3)) > 1e-3
    assert reached[:4].any()
    assert reached[4:].any()


def test_gsat_conv_refuses() -> None:
    assert refused(dense((6, 8, 3, 3)), GsatConv()) == []  # not dilated
    reasons = refused(dense((6, 8, 3, 3), DILATED), GsatConv(groups=4))
    assert reasons == ["expected several channels in each of 4 groups, found 8 and 6 channels"]
    reasons = refused(dense((8, 8, 3, 3), DILATED, 8), GsatConv())
    assert reasons == ["expected several channels in each of 8 groups, found 8 and 8 channels"]
    assert refused(dense((6, 4, 3, 3), f"group = 2, {DILATED}"), GsatConv()) == [
        "expected a dense convolution, found 2 groups"
    ]
    with pytest.raises(ValueError, match="option 'groups' is 1; expected 2 or more"):
        GsatConv(groups=1)
