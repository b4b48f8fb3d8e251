"""feature-align: the identity at the start, and the noisy input's modulation once trained."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from graphopt.passes.feature_align import FeatureAlign
from graphs import difference, inner, network, random_image, refused, rewritten, run, space_of

from graphopt.nn.supernet import Supernet

LEVELS = {"encoder": "downs.0", "decoder": "level"}


@pytest.mark.parametrize("level", LEVELS)
def test_feature_align_starts_as_the_identity(nafnet_graph: gs.Graph, images: list[np.ndarray], level: str) -> None:
    chosen = rewritten(nafnet_graph, FeatureAlign(), images, LEVELS[level])
    assert len(chosen.nodes) > len(nafnet_graph.nodes)
    assert difference(run(chosen, images[0]), run(nafnet_graph, images[0])) < 1e-6


def test_levels_are_found_once(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    space = space_of(nafnet_graph, [FeatureAlign()], images)
    assert space.refusals == []
    assert set(space.choices) == set(LEVELS.values())  # residual sums inside blocks are no levels
    module = Supernet(space)
    restored = module(torch.from_numpy(images[0])).detach().numpy()
    assert difference(restored, run(nafnet_graph, images[0])) < 1e-4


@pytest.mark.parametrize(("level", "output", "ratio"), [("encoder", "down", 2), ("decoder", "joined", 1)])
def test_feature_align_reads_the_noisy_input(
    nafnet_graph: gs.Graph, images: list[np.ndarray], level: str, output: str, ratio: int
) -> None:
    chosen = rewritten(nafnet_graph, FeatureAlign(), images, LEVELS[level])
    weight, bias = (
        next(t.values for name, t in chosen.tensors().items() if name.endswith(end))
        for end in ("/align", "/align_bias")
    )
    random = np.random.default_rng(0)
    weight[:, :, 1, 1] = random.normal(size=weight.shape[:2])  # a 1x1, so that einsum is the judge
    bias[:] = random.normal(size=bias.shape)
    (before,) = inner(nafnet_graph, images[0], output)
    (after,) = inner(chosen, images[0], output)
    side = 16 // ratio
    small = images[0].reshape(1, 3, side, ratio, side, ratio).mean(axis=(3, 5))
    both = np.einsum("oi,nihw->nohw", weight[:, :, 1, 1], small) + bias.reshape(1, -1, 1, 1)
    scale, shift = np.split(both, 2, axis=1)
    assert difference(after, before * (1 + scale) + shift) < 1e-5


def test_levels_that_do_not_divide_the_image() -> None:
    text = "(float[1, 3, 15, 16] x) => (float[1, 4, 8, 8] y) { y = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w) }"
    reasons = refused(network(text, {"w": (4, 3, 3, 3)}), FeatureAlign())
    assert reasons == ["expected a level whose size divides that of the image, found [8, 8] and [15, 16]"]


def test_concatenated_skips() -> None:
    text = """(float[1, 3, 8, 8] x) => (float[1, 7, 8, 8] y) {
        d = Conv<strides = [2, 2]>(x, w) u = ConvTranspose<strides = [2, 2]>(d, v) y = Concat<axis = 1>(x, u) }"""
    graph, image = network(text, {"w": (4, 3, 2, 2), "v": (4, 4, 2, 2)}), random_image(1, 3, 8, 8)
    chosen = rewritten(graph, FeatureAlign(), [image], "level")
    assert difference(run(chosen, image), run(graph, image)) < 1e-6


def test_networks_of_two_images_have_no_site() -> None:
    text = """(float[1, 3, 8, 8] x, float[1, 3, 8, 8] z) => (float[1, 4, 4, 4] y) {
        s = Add(x, z) y = Conv<strides = [2, 2]>(s, w) }"""
    assert refused(network(text, {"w": (4, 3, 2, 2)}), FeatureAlign()) == []
