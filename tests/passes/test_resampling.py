"""space-to-depth-downsample, average-downsample, list-upsample, depthwise-subpixel and plain-pixel-shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.average_downsample import AverageDownsample
from graphopt.passes.depthwise_subpixel import DepthwiseSubpixel
from graphopt.passes.list_upsample import ListUpsample
from graphopt.passes.plain_pixel_shuffle import PlainPixelShuffle
from graphopt.passes.resize_upsample import ResizeUpsample
from graphopt.passes.space_to_depth_downsample import SpaceToDepthDownsample
from graphopt.passes.transposed_upsample import TransposedUpsample
from graphs import difference, kinds, network, random_image, refused, rewritten, run

from graphopt.ir.passes import Pass
from graphopt.ir.space_building import build_space

IMAGES = [random_image(1, 8, 12, 10, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
FLAT = np.ones((1, 8, 12, 10), np.float32) * np.linspace(-1, 2, 8, dtype=np.float32).reshape(1, 8, 1, 1)


def down(kernel: int, attributes: str, bias: bool = True, size: tuple[int, int] = (12, 10), group: int = 1) -> gs.Graph:
    height, width = size
    text = f"""(float[1, 8, {height}, {width}] x) => (float[1, 4, {height // 2}, {width // 2}] y) {{
        ["downs.0/conv"] y = Conv<strides = [2, 2], group = {group}{attributes}>(x, w{", b" if bias else ""}) }}"""
    return network(text, {"w": (4, 8 // group, kernel, kernel), "b": (4,)})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attributes", ["", ", kernel_shape = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1]"])
def test_space_to_depth_downsample_is_exact(bias: bool, attributes: str) -> None:
    graph = down(2, attributes, bias)
    chosen = rewritten(graph, SpaceToDepthDownsample(), IMAGES)
    assert kinds(chosen) == ["SpaceToDepth", "Conv"]
    assert chosen.nodes[1].inputs[1].values.shape == (4, 32, 1, 1)
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 2e-6


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


@pytest.mark.parametrize("rule", [SpaceToDepthDownsample(), AverageDownsample()])
def test_downsampling_that_stays(rule: Pass) -> None:
    assert refused(down(2, "", group=2), rule) == ["expected a dense convolution, found 2 groups"]
    odd = down(2, "", size=(13, 10))
    assert refused(odd, rule) == ["expected half of an even height and width, found [13, 10] and [6, 5]"]
    text = "(float[1, 8, 12, 10] x) => (float[1, 4, 12, 10] y) { y = Conv<pads = [1, 1, 1, 1]>(x, w) }"
    assert refused(network(text, {"w": (4, 8, 3, 3)}), rule) == []


def up(weight: Any = (12, 8, 1, 1), attributes: str = "", bias: bool = True) -> gs.Graph:
    text = f"""(float[1, 8, 12, 10] x) => (float[1, 3, 24, 20] y) {{
        ["ups.0/conv"] a = Conv{attributes}(x, w{", b" if bias else ""})
        ["ups.0/depthtospace"] y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }}"""
    return network(text, {"w": weight, "b": (12,)})


@pytest.mark.parametrize("bias", [True, False])
def test_list_upsample_starts_as_resize_upsample(bias: bool) -> None:
    """Equal where two directions are enough for the outputs; a sub-pixel's own part is what both leave out."""
    random = np.random.default_rng(6)
    mean = random.normal(size=(3, 2)) @ random.normal(size=(2, 8))
    graph = up((mean[:, None] + random.normal(size=(3, 4, 1)) * 0).reshape(12, 8, 1, 1), bias=bias)
    chosen = rewritten(graph, ListUpsample(), IMAGES)
    assert kinds(chosen) == ["Resize", "Conv", "Conv", "Conv", "Conv", "Concat"]
    resized = rewritten(graph, ResizeUpsample(), IMAGES)
    assert difference(run(chosen, IMAGES[0]), run(resized, IMAGES[0])) < 1e-5
    flat = run(chosen, FLAT)
    assert np.ptp(flat, axis=(2, 3)).max() < 1e-4


def test_list_upsample_keeps_the_mean() -> None:
    graph = up()
    means = [run(g, FLAT).mean(axis=(0, 2, 3)) for g in (graph, rewritten(graph, ListUpsample(), [FLAT]))]
    np.testing.assert_allclose(means[1], means[0], rtol=1e-4, atol=1e-5)
    text = """(float[1, 8, 12, 10] x) => (float[1, 1, 24, 20] y) {
        a = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }"""
    few = network(text, {"w": (4, 8, 1, 1)})
    assert refused(few, ListUpsample()) == ["expected 4 inputs and 2 outputs or more, found 8 and 1"]


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


def test_depthwise_subpixel_keeps_the_mean_of_each_subpixel() -> None:
    graph = up()
    chosen = rewritten(graph, DepthwiseSubpixel(), [FLAT])
    inside = np.s_[:, :, 2:-2, 2:-2]
    assert difference(run(chosen, FLAT)[inside], run(graph, FLAT)[inside]) < 1e-5
    text = """(float[1, 8, 12, 10] x) => (float[1, 3, 20, 16] y) {
        a = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }"""
    reasons = refused(network(text, {"w": (12, 8, 3, 3)}), DepthwiseSubpixel())
    assert reasons == ["expected a convolution that keeps the size, found [12, 10] and [20, 16] after the shuffle"]


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


def test_upsampling_is_one_choice() -> None:
    rules = [ResizeUpsample(), TransposedUpsample(), ListUpsample(), DepthwiseSubpixel(), PlainPixelShuffle()]
    space = build_space(up(), rules, IMAGES, [], lambda share, text: None)
    assert {name: (choice.parent, choice.options) for name, choice in space.choices.items()} == {
        "ups.0": (None, ("keep", "resize-upsample", "transposed-upsample", "list-upsample", "depthwise-subpixel")),
        "ups.0/shuffle": ("ups.0", ("keep", "plain-pixel-shuffle")),
    }
