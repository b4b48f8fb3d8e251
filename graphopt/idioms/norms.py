"""Channel LayerNorm: how networks spell it, and its parts, whichever way that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphopt.ir.patterns import Term, const, either, op, optional, pattern, per_channel, scalar

if TYPE_CHECKING:
    from graphopt.ir.build import Build
    from graphopt.ir.sites import Site

Array = NDArray[np.float32]


def layer_norm_of(x: Term) -> Term:
    """Channel LayerNorm of (N, C, H, W): (x - mean) / sqrt(var + eps) [* weight] [+ bias], in either spelling."""
    return either(_decomposed_layer_norm(x), _transposed_layer_norm(x))


def _decomposed_layer_norm(x: Term) -> Term:
    """As the official NAFNet spells it. The square is Pow(., 2) or a product with itself."""
    centred = op.Sub(x, op.ReduceMean(x, axes=(1,), keepdims=1))
    square = either(op.Pow(centred, 2), op.Mul(centred, centred))
    variance = op.ReduceMean(square, axes=(1,), keepdims=1)
    normal = op.Div(centred, op.Sqrt(op.Add(variance, scalar("eps"))))
    scaled = optional(lambda y: op.Mul(y, per_channel("weight")), normal)
    return optional(lambda y: op.Add(y, per_channel("bias")), scaled)


def _transposed_layer_norm(x: Term) -> Term:
    """permute -> nn.LayerNorm(C) -> permute. The bias may be missing."""
    rows = op.Transpose(x, perm=(0, 2, 3, 1))
    with_bias = op.LayerNormalization(rows, const("weight"), const("bias"), axis=last_axis)
    without = op.LayerNormalization(rows, const("weight"), None, axis=last_axis)
    return op.Transpose(either(with_bias, without), perm=(0, 3, 1, 2))


def last_axis(value: int) -> bool:
    """the last axis"""
    return value in (-1, 3)


@pattern
def channel_layer_norm(x: Term) -> Term:
    return layer_norm_of(x)


@dataclass(frozen=True)
class LayerNorm:
    """(x - mean) / sqrt(var + epsilon) * scale + shift over channels; scale and shift (1, C, 1, 1)."""

    scale: Array
    shift: Array
    epsilon: float


def layer_norm_at(site: Site, build: Build) -> LayerNorm:
    """The norm at a site of `channel_layer_norm`. A weight that the network leaves out is 1, a bias 0."""
    channels = build.shape("x")[1]

    def values(role: str, without: float) -> Array:
        found = build.values(role) if role in site.constants else np.full(channels, without, np.float32)
        return found.reshape(1, -1, 1, 1)

    if "eps" in site.constants:
        epsilon = float(build.values("eps").item())
    else:
        epsilon = float(build.attributes("LayerNormalization").get("epsilon", 1e-5))
    return LayerNorm(values("weight", 1), values("bias", 0), epsilon)
