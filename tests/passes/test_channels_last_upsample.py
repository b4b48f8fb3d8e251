"""channels-last-upsample: both kinds of 2x2 upsampling as a 1x1 convolution and a shuffle of whole pixels."""

from __future__ import annotations

import pytest
from graphopt.passes.channels_last_upsample import ChannelsLastUpsample
from graphs import difference, kinds, network, rewritten, run, site_names
from layers import IMAGES, OTHER_UPSAMPLING, UP_BIASES, other_upsampling, up

MADE = ["Conv", "Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]
TRANSPOSED = "(float[1, 8, 12, 10] x) => (float[1, 3, a, b] y) {{ y = ConvTranspose<{}>(x, w{}) }}"
TWO_BY_TWO = "kernel_shape = [2, 2], strides = [2, 2]"


@pytest.mark.parametrize("bias", UP_BIASES)
def test_a_pixel_shuffle(bias: str) -> None:
    graph = up(bias=UP_BIASES[bias])
    chosen = rewritten(graph, ChannelsLastUpsample(), IMAGES)
    assert kinds(chosen) == MADE
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6


@pytest.mark.parametrize("bias", ["", ", b"])
def test_a_transposed_convolution(bias: str) -> None:
    graph = network(TRANSPOSED.format(TWO_BY_TWO, bias), {"w": (8, 3, 2, 2), "b": (3,)})
    chosen = rewritten(graph, ChannelsLastUpsample(), IMAGES)
    assert kinds(chosen) == MADE
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6


@pytest.mark.parametrize("text", OTHER_UPSAMPLING)
def test_other_shuffles_are_left_alone(text: str) -> None:
    assert site_names(other_upsampling(text), ChannelsLastUpsample()) == []


@pytest.mark.parametrize(
    ("attributes", "weight"),
    [
        ("strides = [2, 2], pads = [1, 1, 1, 1]", (8, 3, 4, 4)),
        ("strides = [2, 2], pads = [1, 1, 1, 1]", (8, 3, 2, 2)),
        ("strides = [1, 1]", (8, 3, 2, 2)),
        ("strides = [2, 2], output_padding = [1, 1]", (8, 3, 2, 2)),
        ("kernel_shape = [2, 2]", (8, 3, 2, 2)),
    ],
)
def test_other_transposed_convolutions_are_left_alone(attributes: str, weight: tuple[int, ...]) -> None:
    assert site_names(network(TRANSPOSED.format(attributes, ""), {"w": weight}), ChannelsLastUpsample()) == []
