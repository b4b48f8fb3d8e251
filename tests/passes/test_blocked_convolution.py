"""blocked-convolution: a convolution to few channels computes a block of pixels at once."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.blocked_convolution import BlockedConvolution, spread
from graphs import difference, kinds, network, random_image, refused, rewritten, run
from layers import dense

from graphopt import GraphoptError

IMAGE = random_image(1, 8, 12, 8)
SIGNATURE = "(float[1, 8, 12, 8] x) => (float[1, {}, 12, 8] y)"


@pytest.mark.parametrize(("block", "kernel", "pads"), [(4, (3, 3), "1, 1, 1, 1"), (2, (3, 5), "0, 1, 2, 3")])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_exact(block: int, kernel: tuple[int, int], pads: str, bias: bool) -> None:
    text = f"{SIGNATURE.format(3)} {{ y = Conv<pads = [{pads}]>(x, w{', b' if bias else ''}) }}"
    graph = network(text, {"w": (3, 8, *kernel), "b": (3,)})
    chosen = rewritten(graph, BlockedConvolution(block=block), [IMAGE])
    assert kinds(chosen) == ["Conv", "DepthToSpace"]
    assert chosen.nodes[0].attrs["strides"] == [block, block]
    assert chosen.nodes[0].inputs[1].shape == (3 * block**2, 8, kernel[0] + block - 1, kernel[1] + block - 1)
    assert difference(run(chosen, IMAGE), run(graph, IMAGE)) < 1e-6


def test_each_pixel_of_a_block_has_the_window_moved() -> None:
    made = spread(np.array([[[[1.0, 2.0]]]], np.float32), 2)
    assert made[:, 0].tolist() == [[[1, 2, 0], [0, 0, 0]], [[0, 1, 2], [0, 0, 0]], [[0, 0, 0], [1, 2, 0]],
                                   [[0, 0, 0], [0, 1, 2]]]  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "weight", "attributes", "reason"),
    [
        (8, (8, 8, 3, 3), "pads = [1, 1, 1, 1]", "expected fewer than 8 outputs, found 8"),
        (3, (3, 8, 1, 1), "pads = [0, 0, 0, 0]", "expected a window of more than one pixel"),
        (3, (3, 8, 3, 3), 'auto_pad = "SAME_UPPER"', "expected padding in numbers"),
    ],
)
def test_what_it_refuses(outputs: int, weight: tuple[int, ...], attributes: str, reason: str) -> None:
    graph = network(f"{SIGNATURE.format(outputs)} {{ y = Conv<{attributes}>(x, w) }}", {"w": weight})
    assert refused(graph, BlockedConvolution()) == [reason]


def test_a_size_that_the_block_does_not_divide() -> None:
    graph = dense((6, 8, 3, 3))  # of 12 x 10
    reason = "expected a height and a width that 4 divides, found 12 x 10"
    assert refused(graph, BlockedConvolution()) == [reason]


def test_a_block_of_one() -> None:
    with pytest.raises(GraphoptError, match="expected block of 2 or more, found 1"):
        BlockedConvolution(block=1)
