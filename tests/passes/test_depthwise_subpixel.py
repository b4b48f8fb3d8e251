"""depthwise-subpixel: exact for separable kernels, and the best fit for others."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.depthwise_subpixel import DepthwiseSubpixel
from graphs import difference, kinds, network, refused, rewritten, run, site_names
from layers import FLAT, IMAGES, middle, up


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("size", "attributes"), [(1, ""), (3, "<pads = [1, 1, 1, 1]>")])
def test_depthwise_subpixel_is_exact_for_separable_kernels(size: int, attributes: str, bias: bool) -> None:
    random = np.random.default_rng(7)
    depth, point = random.normal(size=(3, 4, 1, size, size)), random.normal(size=(3, 1, 8, 1, 1))
    graph = up((depth * point).reshape(12, 8, size, size), attributes, bias)
    chosen = rewritten(graph, DepthwiseSubpixel(), IMAGES)
    assert kinds(chosen) == ["Conv", "Conv", "DepthToSpace"]
    assert [node.inputs[1].values.shape for node in chosen.nodes[:2]] == [(3, 8, 1, 1), (12, 1, 3, 3)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_the_mean_of_each_subpixel_stays() -> None:
    graph = up()
    chosen = rewritten(graph, DepthwiseSubpixel(), [FLAT])
    assert difference(middle(run(chosen, FLAT)), middle(run(graph, FLAT))) < 1e-5


def test_sites_and_what_it_refuses(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, DepthwiseSubpixel()) == ["ups.0"]
    assert site_names(up(), DepthwiseSubpixel()) == ["ups.0"]
    text = """(float[1, 8, 12, 10] x) => (float[1, 3, 20, 16] y) {
        a = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }"""
    reasons = refused(network(text, {"w": (12, 8, 3, 3)}), DepthwiseSubpixel())
    assert reasons == ["expected a convolution that keeps the size, found [12, 10] and [20, 16] after the shuffle"]
    assert site_names(up((12, 8, 5, 5), "<pads = [2, 2, 2, 2]>"), DepthwiseSubpixel()) == []
