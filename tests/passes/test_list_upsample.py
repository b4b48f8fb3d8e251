"""list-upsample: bilinear resize and a LIST module in place of a PixelShuffle."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.list_upsample import ListUpsample
from graphopt.passes.resize_upsample import ResizeUpsample
from graphs import difference, kinds, network, refused, rewritten, run, site_names
from layers import FLAT, IMAGES, up


@pytest.mark.parametrize("bias", [True, False])
def test_it_starts_as_resize_upsample(bias: bool) -> None:
    """Where two directions are enough for the outputs' means; a sub-pixel's own part is what both leave out."""
    random = np.random.default_rng(6)
    mean = random.normal(size=(3, 2)) @ random.normal(size=(2, 8))
    own = random.normal(size=(3, 4, 8))
    own -= own.mean(axis=1, keepdims=True)
    graph = up((mean[:, None] + own).reshape(12, 8, 1, 1), bias=bias)
    chosen = rewritten(graph, ListUpsample(), IMAGES)
    assert kinds(chosen) == ["Resize", "Conv", "Conv", "Conv", "Conv", "Concat"]
    resized = rewritten(graph, ResizeUpsample(), IMAGES)
    assert difference(run(chosen, IMAGES[0]), run(resized, IMAGES[0])) < 1e-5
    flat = run(chosen, FLAT)
    assert np.ptp(flat, axis=(2, 3)).max() < 1e-4


def test_the_mean_stays() -> None:
    graph = up()
    means = [run(g, FLAT).mean(axis=(0, 2, 3)) for g in (graph, rewritten(graph, ListUpsample(), [FLAT]))]
    np.testing.assert_allclose(means[1], means[0], rtol=1e-5, atol=1e-5)


def test_sites_and_what_it_refuses(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, ListUpsample()) == ["ups.0"]
    text = """(float[1, 8, 12, 10] x) => (float[1, 1, 24, 20] y) {
        a = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }"""
    few = network(text, {"w": (4, 8, 1, 1)})
    assert refused(few, ListUpsample()) == ["expected 4 inputs and 2 outputs or more, found 8 and 1"]
