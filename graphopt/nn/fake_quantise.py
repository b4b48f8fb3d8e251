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
    """(clamp(round(x / scale), low, high)) * scale. Where `channels` is None, `scale`, `low` and `high` are numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: Tensor | float, high: Tensor | float, steps: int) -> Tensor:
        y = x / scale
        made = y.round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, scale, made)
        ctx.ends, ctx.steps = (low, high), steps
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, scale, made = ctx.saved_tensors
        low, high = ctx.ends
        # inside: what rounds to an integer that there is
        lowest, highest = (low - 0.5) * scale, (high + 0.5) * scale
        if scale.numel() == 1:
            inner = torch.ops.aten.hardtanh_backward(gradient, x, lowest, highest)
        else:
            inner = gradient * ((x >= lowest) & (x <= highest))
        if not ctx.needs_input_grad[1]:
            return inner, None, None, None, None
        # d made / d scale is (made - x) / scale inside, and made / scale where it is cut off
        moved = torch.sub(made, x).mul_(gradient).add_(torch.sub(gradient, inner).mul_(x))
        axes = [axis for axis in range(x.dim()) if scale.numel() == 1 or scale.shape[axis] == 1]
        total = moved.sum(axes, keepdim=scale.dim() > 0).reshape(scale.shape) / scale
        each = x.numel() // scale.numel()
        return inner, total / math.sqrt(each * ctx.steps), None, None, None


def fake_quantise(grid: Grid) -> Op:
    """(x, scale) -> x on the grid. Its gradient is that of x where x lies inside, and LSQ's for the scale (Esser et
    al. 2020), with its factor 1 / sqrt(n q). Zero points stay; scales of int32, those of biases, have no gradient.
    """
    low, high = grid.ends
    steps = max(high, 1)
    zeros, is_bias = grid.zero, grid.dtype == np.dtype(np.int32)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        if is_bias:
            scale = scale.detach()
        if scale.numel() == 1 and zeros.size == 1:
            zero = int(zeros[0])
            return _run(x, scale.reshape(()), low - zero, high - zero, steps)
        shape = [1] * x.dim()
        shape[grid.axis] = -1
        zero = torch.from_numpy(zeros).to(x).reshape(shape if zeros.size > 1 else [1] * x.dim())
        return _run(x, scale.reshape(shape), low - zero, high - zero, steps)

    return run


def _run(x: Tensor, scale: Tensor, low: Tensor | float, high: Tensor | float, steps: int) -> Tensor:
    made: Tensor = _FakeQuantise.apply(x, scale, low, high, steps)  # type: ignore[no-untyped-call]
    return made


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
