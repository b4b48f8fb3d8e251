"""Upsampling by rearranging channels into pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphopt.idioms.convolutions import conv_of
from graphopt.ir.patterns import Term, const, either, op, pattern

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


def pixel_shuffle_of(x: Term) -> Term:
    """PixelShuffle(2), (N, 4 C, H, W) -> (N, C, 2 H, 2 W), as DepthToSpace or as Reshape, Transpose, Reshape.

    Channel 4 c + 2 i + j becomes the pixels (2 h + i, 2 w + j).
    """
    apart = op.Reshape(x, const(), where=channels_apart)
    together = op.Reshape(op.Transpose(apart, perm=(0, 1, 4, 2, 5, 3)), const(), where=pixels_together)
    return either(op.DepthToSpace(x, blocksize=2, mode="CRD"), together)


def channels_apart(node: gs.Node) -> bool:
    """(N, 4 C, H, W) to (N, C, 2, 2, H, W)"""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or (len(before), len(after)) != (4, 6):
        return False
    return list(after) == [before[0], before[1] // 4, 2, 2, *before[2:]]


def pixels_together(node: gs.Node) -> bool:
    """(N, C, H, 2, W, 2) to (N, C, 2 H, 2 W)"""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or (len(before), len(after)) != (6, 4):
        return False
    return list(after) == [before[0], before[1], 2 * before[2], 2 * before[4]]


@pattern
def pixel_shuffle(x: Term) -> Term:
    return pixel_shuffle_of(x)


@pattern
def pixel_shuffle_upsample(x: Term) -> Term:
    """1x1 conv + PixelShuffle(2)."""
    return pixel_shuffle_of(conv_of(x, kernel_shape=(1, 1), group=1, strides=(1, 1), pads=(0, 0, 0, 0)))


def two_by_two(node: gs.Node) -> bool:
    """a window of 2x2 with stride 2, in one group, with nothing padded or cut off"""
    attributes, weight = node.attrs, node.inputs[1]
    moved = any(attributes.get("pads", ())) or any(attributes.get("output_padding", ())) or "output_shape" in attributes
    if moved or attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or attributes.get("group", 1) != 1:
        return False
    return list(weight.shape[2:]) == [2, 2] == list(attributes.get("strides", ()))


@pattern
def transposed_upsample(x: Term) -> Term:
    """A 2x2 transposed convolution with stride 2."""
    weight, bias = const("weight"), const("bias")
    return either(
        op.ConvTranspose(x, weight, bias, where=two_by_two), op.ConvTranspose(x, weight, None, where=two_by_two)
    )
