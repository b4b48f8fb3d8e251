"""partial-depthwise: some channels are convolved as before, the others are a line."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.partial_depthwise import PartialDepthwise
from graphs import difference, kinds, network, random_image, run, site_names, space_of

from graphopt.ir.rewriting import apply_selection
from graphopt.ir.view import GraphView

IMAGES = [random_image(1, 8, 12, 12, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
X_TO_Y = "(float[1, 8, 12, 12] x) => (float[1, 8, 12, 12] y)"


def depthwise(attributes: str = "pads = [1, 1, 1, 1], group = 8", bias: bool = True, kernel: int = 3) -> gs.Graph:
    operands = "x, w, bias" if bias else "x, w"
    text = f'{X_TO_Y} {{ ["b.0/conv2/conv"] y = Conv<{attributes}>({operands}) }}'
    return network(text, {"w": (8, 1, kernel, kernel), "bias": (8,)})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("share", "kept"), [(0.5, 4), (0.25, 2), (0.01, 1), (0.99, 7)])
@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ("pads = [1, 1, 1, 1], group = 8", 3),
        ("pads = [2, 2, 2, 2], dilations = [2, 2], group = 8", 3),
        ('auto_pad = "SAME_UPPER", group = 8', 3),
    ],
)
def test_partial_depthwise(attributes: str, kernel: int, bias: bool, share: float, kept: int) -> None:
    graph = depthwise(attributes, bias, kernel)
    space = space_of(graph, [PartialDepthwise(share=share)], IMAGES)
    chosen = apply_selection(space, {"b.0/conv2": "partial-depthwise"})
    assert kinds(chosen) == ["Mul", "Add", "Split", "Conv", "Concat"]
    full, found = run(graph, IMAGES[0]), run(chosen, IMAGES[0])
    # the kept channels are convolved as before, the others are a line through (x, dw(x))
    assert difference(found[:, :kept], full[:, :kept]) < 1e-5
    results = [run(graph, image) for image in IMAGES]
    for channel in range(kept, 8):
        x = np.concatenate([image[0, channel].ravel() for image in IMAGES]).astype(np.float64)
        y = np.concatenate([result[0, channel].ravel() for result in results])
        slope, offset = np.polyfit(x, y, 1)
        np.testing.assert_allclose(found[0, channel], slope * IMAGES[0][0, channel] + offset, atol=1e-4)


def test_depthwise_convolutions_are_sites(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, PartialDepthwise()) == [f"{block}/conv2" for block in blocks]


@pytest.mark.parametrize(
    ("text", "shapes", "expected"),
    [
        ("y = Conv<pads = [1, 1, 1, 1]>(x, w)", (8, 8, 3, 3), "expected a depthwise convolution, found 1 groups for 8 channels"),
        (
            "y = Conv<pads = [1, 1, 1, 1], group = 4>(x, w)", (8, 2, 3, 3),
            "expected a depthwise convolution, found 4 groups for 8 channels",
        ),
        (
            "a = Conv<group = 8>(x, w) y = Pad(a, pads)", (8, 1, 3, 3),
            "expected a convolution that keeps the size, found [12, 12] and [10, 10]",
        ),
        ("y = Conv<group = 8>(x, w)", (8, 1, 1, 1), None),  # 1x1: a scale already
        ("a = Conv<group = 8, strides = [2, 2], pads = [1, 1, 1, 1]>(x, w) y = Resize(a,, twice)", (8, 1, 3, 3), None),
    ],
)  # fmt: skip
def test_convolutions_that_stay_whole(text: str, shapes: tuple[int, ...], expected: str | None) -> None:
    weights = {"w": shapes, "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "twice": np.array([1, 1, 2, 2], np.float32)}
    view = GraphView(network(f"{X_TO_Y} {{ {text} }}", weights))
    assert list(PartialDepthwise().sites(view)) == []
    assert [reason for _, reason in view.refusals] == ([expected] if expected else [])


def test_depthwise_with_few_channels() -> None:
    text = "(float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y) { y = Conv<pads = [1, 1, 1, 1], group = 2>(x, w) }"
    view = GraphView(network(text, {"w": (2, 1, 3, 3)}))
    assert list(PartialDepthwise().sites(view)) == []
    assert view.refusals == [("conv", "expected 4 channels or more, found 2")]


@pytest.mark.parametrize("share", [0.0, 1.0, -2.0])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ValueError, match=f"option 'share' is {share}; expected a number between 0 and 1"):
        PartialDepthwise(share=share)
