"""space-to-depth-downsample: a strided 2x2 convolution as SpaceToDepth and a 1x1."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.space_to_depth_downsample import SpaceToDepthDownsample
from graphs import difference, kinds, refused, rewritten, run, site_names, space_of
from layers import IMAGES, dense, down

from graphopt import Contract


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attributes", ["", ", kernel_shape = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1]"])
def test_space_to_depth_downsample_is_exact(bias: bool, attributes: str) -> None:
    graph = down(2, attributes, bias)
    chosen = rewritten(graph, SpaceToDepthDownsample(), IMAGES)
    assert kinds(chosen) == ["SpaceToDepth", "Conv"]
    assert chosen.nodes[1].inputs[1].values.shape == (4, 32, 1, 1)
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 2e-6


def test_strided_convolutions_of_two_are_sites(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    space = space_of(nafnet_graph, [SpaceToDepthDownsample()], images)
    assert list(space.choices) == ["downs.0"]
    assert space.choices["downs.0"].candidates["space-to-depth-downsample"].contract is Contract.EXACT


def test_it_refuses_groups_and_odd_sizes() -> None:
    rule = SpaceToDepthDownsample()
    assert refused(down(2, "", group=2), rule) == ["expected a dense convolution, found 2 groups"]
    reasons = refused(down(2, "", size=(13, 10)), rule)
    assert reasons == ["expected half of an even height and width, found [13, 10] and [6, 5]"]
    assert site_names(down(3, ", pads = [1, 1, 1, 1]"), rule) == []
    assert site_names(dense((6, 8, 3, 3)), rule) == []
