"""merge-depthwise: a 1x1 and a depthwise convolution are one, up to the bias at the border."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.merge_depthwise import MergeDepthwise
from graphs import difference, kinds, network, refused, rewritten, run, site_names
from layers import IMAGES, SIGNATURE

BIASED = ["the 1x1 has a bias, which zero padding hides at the border; option `border: plane` adds it there"]


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


def test_the_pair_of_each_block_is_a_site(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, MergeDepthwise(border="plane")) == [f"{block}/expand" for block in blocks]
    assert set(refused(nafnet_graph, MergeDepthwise())) == set(BIASED)


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
