"""Upsampling by rearranging channels into pixels."""

from __future__ import annotations

from graphopt.idioms.convolutions import conv_of
from graphopt.ir.patterns import Term, op, pattern


def pixel_shuffle_of(x: Term) -> Term:
    """PixelShuffle(2), (N, 4 C, H, W) -> (N, C, 2 H, 2 W).

    Channel 4 c + 2 i + j becomes the pixels (2 h + i, 2 w + j).
    """
    return op.DepthToSpace(x, blocksize=2, mode="CRD")


@pattern
def pixel_shuffle_upsample(x: Term) -> Term:
    """1x1 conv + PixelShuffle(2)."""
    return pixel_shuffle_of(conv_of(x, kernel_shape=(1, 1), group=1, strides=(1, 1), pads=(0, 0, 0, 0)))
