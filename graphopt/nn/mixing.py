"""The soft output of a choice: branches weighted by probability, in few kernels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ONE = 2e-7  # a sum this near to 1 is 1 in fp32


def mix(probabilities: Tensor, branches: Sequence[Sequence[int]], values: Sequence[Tensor]) -> Tensor:
    """sum_k w_k * values[k], where w_k sums the probabilities (K,) of the options `branches[k]` that run as branch k.

    Values of different shapes are broadcast, those of different types (autocast) promoted. Options of no branch have no
    part in it, and no gradient. Probabilities may lie on another device than the values: their sums are numbers.
    """
    if len(values) == 1 and len(branches[0]) == len(probabilities):
        return values[0]
    if any(value.shape != values[0].shape for value in values):
        values = torch.broadcast_tensors(*values)
    wide = functools.reduce(torch.promote_types, (value.dtype for value in values))
    values = [value.to(wide) for value in values]
    mixed: Tensor = _Mix.apply(probabilities, branches, *values)
    return mixed


class _Mix(torch.autograd.Function):
    """torch's own weighted sums hold a product for each branch; here it is one pass a branch, either way."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, branches: Sequence[Sequence[int]], *values: Tensor) -> Tensor:
        shares = probabilities.tolist()
        weights = [sum(shares[i] for i in options) for options in branches]
        if len(values) == 2 and abs(sum(weights) - 1) < _ONE:
            total = torch.lerp(values[0], values[1], weights[1])  # one pass over memory instead of two
        else:
            total = values[0] * weights[0]
            for value, weight in zip(values[1:], weights[1:], strict=True):
                total.add_(value, alpha=weight)
        ctx.weights = weights
        ctx.device, ctx.dtype = probabilities.device, probabilities.dtype
        if ctx.needs_input_grad[0]:
            # Options that run as one branch have one gradient; those that no branch runs have none (-1).
            ctx.branch_of = [next((k for k, b in enumerate(branches) if i in b), -1) for i in range(len(shares))]
            ctx.save_for_backward(*values)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        asked = ctx.needs_input_grad
        share = None
        if asked[0]:
            inner = [_inner(gradient, value) for value in ctx.saved_tensors]
            share = torch.stack([inner[k] if k >= 0 else torch.zeros_like(inner[0]) for k in ctx.branch_of])
            share = share.to(device=ctx.device, dtype=ctx.dtype)
        parts = [gradient * w if needed else None for w, needed in zip(ctx.weights, asked[2:], strict=True)]
        return (share, None, *parts)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """sum(a * b), without the product where both lie alike in memory. Half precision adds up in float32."""
    if a.dtype in (torch.bfloat16, torch.float16):
        return (a.float() * b.float()).sum()
    dense = a.is_contiguous() or (a.dim() == 4 and a.is_contiguous(memory_format=torch.channels_last))
    if dense and a.stride() == b.stride():
        return torch.dot(a.as_strided((a.numel(),), (1,)), b.as_strided((b.numel(),), (1,)))
    return (a * b).sum()
