"""Rounding to integers and back as one step that trains: straight through values, and LSQ for the scale.

Values are rounded as onnxruntime does it: x / scale in fp32, half to even, and only then the zero point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import torch
from torch import Tensor

from graphopt.nn.operands import Op, OpBuilder, constant_value, present, unsupported

_COARSE = 1 / 32  # 1 / sqrt(q) of integers of 8 bits is above
_FAR = 2**31 - 128  # the largest fp32 that an int32 holds
_TYPES = {
    np.dtype(np.uint8): torch.uint8, np.dtype(np.int8): torch.int8, np.dtype(np.uint16): torch.uint16,
    np.dtype(np.int16): torch.int16, np.dtype(np.int32): torch.int32,
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """The integers of a QuantizeLinear or DequantizeLinear: their type, zero points (one, or one for each channel),
    and the axis of channels where there is a scale for each.
    """

    dtype: np.dtype[Any]
    zero: np.ndarray[Any, np.dtype[Any]]
    axis: int

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the most integer."""
        info = np.iinfo(self.dtype)
        return max(int(info.min), -_FAR), min(int(info.max), _FAR)


def grid_of(node: gs.Node) -> Grid:
    """Raises GraphoptError for blocks, types of 4 bits or of floats, and zero points that the graph computes."""
    if node.attrs.get("block_size"):
        raise unsupported(node, "quantising in blocks")
    zero = constant_value(node.inputs[2]) if present(node, 2) else np.zeros((), np.uint8)
    if zero is None or zero.dtype not in _TYPES:
        found = "that the graph computes" if zero is None else f"of the type {zero.dtype}"
        raise unsupported(node, f"a zero point {found}", "quantise to integers of 8 or 16 bits")
    return Grid(zero.dtype, zero.astype(np.int64).reshape(-1), int(node.attrs.get("axis", 1)))


class _FakeQuantise(torch.autograd.Function):
    """clamp(round(x / scale), low, high) * scale, the scale beside x; `factor` is that of the scale's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: Tensor | int, high: Tensor | int, factor: float) -> Tensor:
        made = torch.div(x, scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, scale, made)
        ctx.ends, ctx.factor = (low, high), factor
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, scale, made = ctx.saved_tensors
        low, high = ((end + off) * scale for end, off in zip(ctx.ends, (-0.5, 0.5), strict=True))
        if scale.dim() == 0:
            inner = torch.ops.aten.hardtanh_backward(gradient, x, float(low), float(high))
        else:
            inner = gradient * ((x > low) & (x < high))
        if not ctx.needs_input_grad[1]:
            return inner, None, None, None, None
        # d made / d scale is (made - x) / scale inside, and made / scale where it is cut off
        if scale.dim() == 0 and ctx.factor * math.sqrt(x.numel()) > _COARSE:
            total = _dot(gradient, made) - _dot(inner, x)
        else:  # of 16 bits, the difference of two sums would be their rounding
            moved = torch.sub(made, x).mul_(gradient).add_(torch.sub(gradient, inner).mul_(x))
            total = moved.sum_to_size(scale.shape)
        return inner, total / scale * ctx.factor, None, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products: without a copy where both lie in memory alike."""
    if a.dim() == 4 and a.is_contiguous(memory_format=torch.channels_last):
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))


def fake_quantise(grid: Grid) -> Op:
    """(x, scale) -> x on the grid. Its gradient is that of x where x lies inside, and LSQ's for the scale (Esser et
    al. 2020), with its factor 1 / sqrt(n q). Zero points stay; scales of int32, those of biases, have no gradient.
    """
    low, high = grid.ends
    is_bias = grid.dtype == np.dtype(np.int32)
    same = int(grid.zero[0]) if len(set(grid.zero.tolist())) == 1 else None

    def run(x: Tensor, scale: Tensor) -> Tensor:
        scale = _along(x, scale.detach() if is_bias else scale, grid)
        zero = _along(x, torch.from_numpy(grid.zero).to(x), grid) if same is None else same
        factor = math.sqrt(scale.numel() / (x.numel() * high))
        made: Tensor = _FakeQuantise.apply(x, scale, low - zero, high - zero, factor)  # type: ignore[no-untyped-call]
        return made

    return run


def quantise_linear(node: gs.Node) -> Op:
    """Into integers: no gradient passes."""
    grid = grid_of(node)
    low, high = grid.ends

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        scale, offset = _along(x, scale, grid), _along(x, _offset(zero, x), grid)
        return ((x / scale).round_() + offset).clamp_(low, high).to(_TYPES[grid.dtype])

    return run


def dequantise_linear(node: gs.Node) -> Op:
    """Integers back into numbers."""
    grid = grid_of(node)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        exact = x.to(torch.int64) - _along(x, _offset(zero, x), grid).to(torch.int64)
        return exact.to(scale.dtype) * _along(x, scale, grid)

    return run


def _offset(zero: Tensor | None, x: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.int64, device=x.device) if zero is None else zero.to(torch.int64)


def _along(x: Tensor, values: Tensor, grid: Grid) -> Tensor:
    """A value for each channel, beside the axis of channels of `x`."""
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.dim()
    shape[grid.axis] = -1
    return values.reshape(shape)


TABLE: dict[str, OpBuilder] = {"QuantizeLinear": quantise_linear, "DequantizeLinear": dequantise_linear}
