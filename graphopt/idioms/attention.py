"""Channel attention: a scale for each channel that follows from the channels' means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphopt.idioms.convolutions import conv_of
from graphopt.ir.patterns import Term, capture, either, op, pattern

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


def pooled(x: Term) -> Term:
    """The mean over height and width, (N, C, 1, 1)."""
    mean = op.ReduceMean(x, axes=(2, 3), keepdims=1)
    return either(mean, op.GlobalAveragePool(x), op.AveragePool(x, where=over_the_image))


def over_the_image(node: gs.Node) -> bool:
    """a window over the whole image"""
    shape, attributes = node.inputs[0].shape, node.attrs
    whole = shape is not None and list(attributes["kernel_shape"]) == list(shape[2:])
    return whole and not any(attributes.get("pads", ())) and attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")


@pattern
def channel_attention(x: Term) -> Term:
    """x * conv1x1(pool(x)): NAFNet's simplified channel attention. The scale is captured as `attention`."""
    return op.Mul(x, capture("attention", conv_of(pooled(x), group=1)))
