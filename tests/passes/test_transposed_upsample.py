"""transposed-upsample: a PixelShuffle as a transposed convolution."""

from __future__ import annotations

import pytest
from graphopt.passes.transposed_upsample import TransposedUpsample
from graphs import difference, kinds, refused, run, site_names, space_of
from layers import IMAGES, OTHER_UPSAMPLING, UP_BIASES, other_upsampling, up

from graphopt import Contract
from graphopt.ir.rewriting import apply_selection


@pytest.mark.parametrize("bias", UP_BIASES)
@pytest.mark.parametrize(
    "attributes", ["", "<kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0], group = 1>"]
)
def test_it_is_exact(bias: str, attributes: str) -> None:
    graph = up(attributes=attributes, bias=UP_BIASES[bias])
    space = space_of(graph, [TransposedUpsample()], IMAGES)
    assert {name: choice.options for name, choice in space.choices.items()} == {
        "ups.0": ("keep", "transposed-upsample")
    }
    assert space.choices["ups.0"].candidates["transposed-upsample"].contract is Contract.EXACT
    chosen = apply_selection(space, {"ups.0": "transposed-upsample"})
    assert kinds(chosen) == ["ConvTranspose", *(["Add"] if bias == "one for each sub-pixel" else [])]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6


@pytest.mark.parametrize("text", OTHER_UPSAMPLING)
def test_other_upsampling_is_left_alone(text: str) -> None:
    assert site_names(other_upsampling(text), TransposedUpsample()) == []


def test_a_convolution_that_is_read_elsewhere_stays() -> None:
    graph = up()
    graph.outputs.append(graph.tensors()["a"])
    assert refused(graph, TransposedUpsample()) == ["a, inside the site, is an output of the graph"]
