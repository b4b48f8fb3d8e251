"""padded-channels: an image of three channels is read as one of four."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.padded_channels import PaddedChannels
from graphs import kinds, network, random_image, refused, rewritten, run

IMAGE = random_image(1, 3, 6, 8)
TEXT = "(float[1, {}, 6, 8] x) => (float[1, 4, a, b] y) {{ y = Conv<{}>(x, w{}) }}"


@pytest.mark.parametrize("bias", ["", ", b"])
def test_it_is_exact(bias: str) -> None:
    graph = network(TEXT.format(3, "pads = [1, 1, 1, 1], strides = [2, 1]", bias), {"w": (4, 3, 3, 3), "b": (4,)})
    chosen = rewritten(graph, PaddedChannels(), [IMAGE])
    assert kinds(chosen) == ["Pad", "Conv"]
    weight = chosen.nodes[1].inputs[1].values
    assert weight.shape == (4, 4, 3, 3)
    assert not weight[:, 3].any()
    np.testing.assert_allclose(run(chosen, IMAGE), run(graph, IMAGE), atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "weight", "attributes", "reason"),
    [
        (8, (4, 8, 3, 3), "group = 1", "expected an image of 3 channels, found (1, 8, 6, 8)"),
        (3, (4, 3, 1, 1), "group = 1", "expected a window of more than one pixel"),
        (3, (3, 1, 3, 3), "group = 3", "expected a dense convolution, found 3 groups"),
    ],
)
def test_what_it_refuses(channels: int, weight: tuple[int, ...], attributes: str, reason: str) -> None:
    text = TEXT.format(channels, attributes, "").replace("float[1, 4,", f"float[1, {weight[0]},")
    assert refused(network(text, {"w": weight}), PaddedChannels()) == [reason]
