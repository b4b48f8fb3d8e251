"""plain-pixel-shuffle: DepthToSpace in single ops, bit by bit."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.plain_pixel_shuffle import PlainPixelShuffle
from graphs import kinds, network, random_image, refused, rewritten, run, site_names
from layers import dense, up


@pytest.mark.parametrize("mode", ['mode = "CRD"', 'mode = "DCR"', ""])
@pytest.mark.parametrize("block", [2, 3])
def test_plain_pixel_shuffle_is_exact(mode: str, block: int) -> None:
    attributes = ", ".join(filter(None, [f"blocksize = {block}", mode]))
    shape = f"2, {3 * block**2}, 5, 4"
    text = f"(float[{shape}] x) => (float[2, 3, {5 * block}, {4 * block}] y) {{ y = DepthToSpace<{attributes}>(x) }}"
    graph, image = network(text), random_image(2, 3 * block**2, 5, 4)
    chosen = rewritten(graph, PlainPixelShuffle(), [image])
    assert kinds(chosen) == ["Reshape", "Transpose", "Reshape"]
    np.testing.assert_array_equal(run(chosen, image), run(graph, image))


def test_every_shuffle_is_a_site(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, PlainPixelShuffle()) == ["ups.0.1"]
    assert site_names(up(), PlainPixelShuffle()) == ["ups.0/shuffle"]
    assert refused(dense((6, 8, 3, 3)), PlainPixelShuffle()) == []
