"""Channel LayerNorm: how networks spell it, and its parts, whichever way that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphopt.ir.patterns import Term, const, either, op, optional, pattern, per_channel, scalar

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from graphopt.ir.build import Build
    from graphopt.ir.matcher import Match
    from graphopt.ir.sites import Site

Array = NDArray[np.float32]


DEFAULT_EPSILON = 1e-5  # ONNX's, of LayerNormalization
# What turns (N, C, H, W) into rows of channels, and what turns them back: permute(0, 3, 2, 1) undoes itself.
THERE_AND_BACK = (((0, 2, 3, 1), (0, 3, 1, 2)), ((0, 3, 2, 1), (0, 3, 2, 1)))


def layer_norm_of(x: Term) -> Term:
    """Channel LayerNorm of (N, C, H, W), (x - mean) / sqrt(var + eps) [* weight] [+ bias], in every spelling.

    In single ops over axis 1; as LayerNormalization, or in single ops over the last axis, between two transposes. The
    weights are the constants `weight` and `bias`; epsilon is the constant `eps`, or an attribute of LayerNormalization.
    """
    return either(_in_single_ops(x, (1,), per_channel), *(_of_rows(x, *orders) for orders in THERE_AND_BACK))


def _in_single_ops(x: Term, axes: tuple[int, ...], vector: Callable[[str], Term]) -> Term:
    normal = _normal(x, axes)
    scaled = optional(lambda y: op.Mul(y, vector("weight")), normal)
    return optional(lambda y: op.Add(y, vector("bias")), scaled)


def _normal(x: Term, axes: tuple[int, ...]) -> Term:
    """(x - mean) / sqrt(var + eps). Where an exporter merges nothing, x - mean, or the mean too, is there twice."""
    mean = op.ReduceMean(x, axes=axes, keepdims=1, where=of_an_image)

    def again() -> Term:
        return op.Sub(x, either(mean, op.ReduceMean(x, axes=axes, keepdims=1)))

    centred = op.Sub(x, mean)
    squared = either(centred, again())
    square = either(op.Pow(squared, 2), op.Mul(squared, squared), op.Mul(squared, again()))
    raised = op.Add(_kept_mean(square, axes), scalar("eps"))
    root = either(op.Sqrt(raised), op.Pow(raised, 0.5))
    rate = either(op.Reciprocal(root), op.Div(1, root), op.Pow(raised, -0.5), op.Sqrt(op.Reciprocal(raised)))
    return either(op.Div(centred, root), op.Mul(centred, rate))


def _kept_mean(x: Term, axes: tuple[int, ...]) -> Term:
    """torch exports `x.var` so that the axis goes, and is put back."""
    lost = op.ReduceMean(x, axes=axes, keepdims=0)

    def put_back(node: gs.Node) -> bool:
        """the axis that was averaged, of size 1 again"""
        before, after = node.inputs[0].shape, node.outputs[0].shape
        return before is not None and after is not None and [*before[: axes[0]], 1, *before[axes[0] :]] == list(after)

    kept = op.ReduceMean(x, axes=axes, keepdims=1)
    return either(kept, op.Reshape(lost, const(), where=put_back), op.Unsqueeze(lost, axes=axes))


def _of_rows(x: Term, there: tuple[int, ...], back: tuple[int, ...]) -> Term:
    """permute -> nn.LayerNorm(C) -> permute. Exporters before opset 17 write the norm in single ops."""
    rows = op.Transpose(x, perm=there)
    with_bias = op.LayerNormalization(rows, const("weight"), const("bias"), axis=last_axis)
    without = op.LayerNormalization(rows, const("weight"), None, axis=last_axis)
    return op.Transpose(either(with_bias, without, _in_single_ops(rows, (3,), _along_rows)), perm=back)


def of_an_image(node: gs.Node) -> bool:
    """a tensor of 4 dimensions"""
    shape = node.inputs[0].shape
    return shape is not None and len(shape) == 4


def last_axis(value: int) -> bool:
    """the last axis"""
    return value in (-1, 3)


def _along_rows(name: str) -> Term:
    return const(name, lambda a: a.ndim > 0 and a.size == a.shape[-1], "a constant for each channel, shape (C,)")


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
        found = build.values(role) if role in site.constants else np.float32(without)
        return np.broadcast_to(np.reshape(found, (1, -1, 1, 1)), (1, channels, 1, 1))

    if "eps" in site.constants:
        epsilon = float(build.values("eps").item())
    else:
        epsilon = float(build.attributes("LayerNormalization").get("epsilon", DEFAULT_EPSILON))
    return LayerNorm(values("weight", 1), values("bias", 0), epsilon)


def epsilon_of(match: Match) -> float:
    """The epsilon of a match of `channel_layer_norm`."""
    if "eps" in match.constants:
        return float(match.constants["eps"].values.item())
    (norm,) = (node for node in match.nodes if node.op == "LayerNormalization")
    return float(norm.attrs.get("epsilon", DEFAULT_EPSILON))
