"""average-downsample: the mean of each 2x2 square, then a 1x1 convolution."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.average_downsample import AverageDownsample
from graphs import difference, kinds, refused, rewritten, run, site_names
from layers import FLAT, IMAGES, dense, down


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel", "attributes"), [(2, ""), (3, ", pads = [1, 1, 1, 1]"), (4, ", pads = [1, 1, 1, 1]")]
)
def test_average_downsample(kernel: int, attributes: str, bias: bool) -> None:
    graph = down(kernel, attributes, bias)
    chosen = rewritten(graph, AverageDownsample(), IMAGES)
    assert kinds(chosen) == ["AveragePool", "Conv"]
    means = IMAGES[0].reshape(1, 8, 6, 2, 5, 2).mean(axis=(3, 5))
    expected = np.einsum("oi,nihw->nohw", graph.tensors()["w"].values.sum(axis=(2, 3)), means)
    if bias:
        expected += graph.tensors()["b"].values.reshape(1, -1, 1, 1)
    assert difference(run(chosen, IMAGES[0]), expected) < 1e-5
    inside = np.s_[:, :, 1:-1, 1:-1]
    assert difference(run(chosen, FLAT)[inside], run(graph, FLAT)[inside]) < 1e-5


def test_strided_convolutions_are_sites(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, AverageDownsample()) == ["downs.0"]
    assert site_names(down(2, ""), AverageDownsample()) == ["downs.0"]


def test_it_refuses_groups_and_odd_sizes() -> None:
    assert refused(down(2, "", group=2), AverageDownsample()) == ["expected a dense convolution, found 2 groups"]
    reasons = refused(down(2, "", size=(13, 10)), AverageDownsample())
    assert reasons == ["expected half of an even height and width, found [13, 10] and [6, 5]"]
    assert refused(dense((6, 8, 3, 3)), AverageDownsample()) == []  # its stride is 1
