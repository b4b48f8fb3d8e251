"""Channel attention: a scale for each channel that follows from the channels' means."""

from __future__ import annotations

from graphopt.idioms.convolutions import conv_of
from graphopt.ir.patterns import Term, capture, either, op, pattern


def pooled(x: Term) -> Term:
    """The mean over height and width, (N, C, 1, 1)."""
    return either(op.ReduceMean(x, axes=(2, 3), keepdims=1), op.GlobalAveragePool(x))


@pattern
def channel_attention(x: Term) -> Term:
    """x * conv1x1(pool(x)): NAFNet's simplified channel attention. The scale is captured as `attention`."""
    return op.Mul(x, capture("attention", conv_of(pooled(x), group=1)))
