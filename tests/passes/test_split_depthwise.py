"""split-depthwise: the best row and column for each kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.split_depthwise import SplitDepthwise
from graphs import difference, network, refused, rewritten, run, site_names
from layers import FLAT, IMAGES, SIGNATURE, dense, middle


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


def test_sites_and_what_it_refuses(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, SplitDepthwise()) == [f"{block}/conv2" for block in blocks]
    reasons = refused(dense((8, 8, 3, 3), outputs=8), SplitDepthwise())
    assert reasons == ["expected a depthwise convolution, found 1 groups for 8 channels"]
    assert refused(depthwise((8, 1, 1, 3), "pads = [0, 1, 0, 1]"), SplitDepthwise()) == []
