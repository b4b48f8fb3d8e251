"""Ops that act on each element, and reductions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import torch
import torch.nn.functional as F
from torch import Tensor

from graphopt.nn.operands import Op, OpBuilder, constant_of, fixed, reader


def _plain(function: Callable[..., Any]) -> OpBuilder:
    """An op that is one torch function of its operands."""
    return lambda node: function


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> OpBuilder:
    return lambda node: lambda *operands: functools.reduce(function, operands)


def _alpha(function: Callable[[Tensor, float], Tensor], default: float) -> OpBuilder:
    """An activation with one attribute, `alpha`."""

    def build(node: gs.Node) -> Op:
        alpha = float(node.attrs.get("alpha", default))
        return lambda x: function(x, alpha)

    return build


def divide(a: Tensor, b: Tensor) -> Tensor:
    """ONNX division keeps the type: that of integers drops the remainder."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(node: gs.Node) -> Op:
    exponent = fixed(node, 1)
    if exponent is not None and len(exponent) == 1:
        number = exponent[0]
        return lambda x, _: torch.pow(x, number)
    return lambda x, y: torch.pow(x, y).to(x.dtype)


def clip(node: gs.Node) -> Op:
    lows, highs = reader(node, 1, "min"), reader(node, 2, "max")

    def run(*operands: Tensor | None) -> Tensor:
        x, low, high = operands[0], lows(operands), highs(operands)
        assert x is not None
        if not low and not high:
            return x
        if low and high and x.is_floating_point() and low[0] <= high[0]:
            return F.hardtanh(x, low[0], high[0])  # the same values; its gradient is one kernel, clamp's is three
        return torch.clamp(x, low[0] if low else None, high[0] if high else None)

    return run


def gelu(node: gs.Node) -> Op:
    approximate = node.attrs.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def hard_sigmoid(node: gs.Node) -> Op:
    alpha, beta = float(node.attrs.get("alpha", 0.2)), float(node.attrs.get("beta", 0.5))
    return lambda x: torch.clamp(x * alpha + beta, 0.0, 1.0)


def softmax(node: gs.Node) -> Op:
    axis = node.attrs.get("axis", -1)
    return lambda x: torch.softmax(x, axis)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def torch_dtype(kind: Any) -> torch.dtype:
    """The torch type of an ONNX type number or of a numpy type."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind) if isinstance(kind, int) else np.dtype(kind)
    return torch.from_numpy(np.empty(0, dtype)).dtype


def cast(node: gs.Node) -> Op:
    dtype = torch_dtype(node.attrs["to"])
    return lambda x: x.to(dtype)


def constant(node: gs.Node) -> Op:
    value = torch.from_numpy(np.array(constant_of(node)))
    return lambda: value


def _reduction(function: Callable[..., Tensor]) -> OpBuilder:
    """`function(x, dim, keepdim)` over the axes that an attribute or the second operand lists; all when none."""

    def build(node: gs.Node) -> Op:
        axes_of, keep = reader(node, 1, "axes"), bool(node.attrs.get("keepdims", 1))
        identity = bool(node.attrs.get("noop_with_empty_axes", 0))

        def run(*operands: Tensor | None) -> Tensor:
            x, axes = operands[0], axes_of(operands)
            assert x is not None
            if not axes and identity:
                return x
            return function(x, axes or list(range(x.dim())), keep)

        return run

    return build


def gemm(node: gs.Node) -> Op:
    """Gemm: alpha * A' @ B' + beta * C."""
    alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    left, right = bool(node.attrs.get("transA", 0)), bool(node.attrs.get("transB", 0))

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = a.t() if left else a, b.t() if right else b
        if c is None:
            return (a @ b) * alpha
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return run


def dropout(node: gs.Node) -> Op:
    """The identity, as in inference."""
    return lambda x, *_: x


TABLE: dict[str, OpBuilder] = {
    "Constant": constant,
    "Identity": _plain(lambda x: x),
    "Dropout": dropout,
    "Cast": cast,
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(divide),
    "Pow": power,
    "Min": _variadic(torch.minimum),
    "Max": _variadic(torch.maximum),
    "Sum": _variadic(torch.add),
    "Neg": _plain(torch.neg),
    "Abs": _plain(torch.abs),
    "Sqrt": _plain(torch.sqrt),
    "Reciprocal": _plain(torch.reciprocal),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Erf": _plain(torch.erf),
    "Floor": _plain(torch.floor),
    "Ceil": _plain(torch.ceil),
    "Tanh": _plain(torch.tanh),
    "Sigmoid": _plain(torch.sigmoid),
    "Relu": _plain(torch.relu),
    "LeakyRelu": _alpha(F.leaky_relu, 0.01),
    "PRelu": _plain(prelu),
    "Elu": _alpha(F.elu, 1.0),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _plain(F.hardswish),
    "Gelu": gelu,
    "Softplus": _plain(lambda x: torch.logaddexp(x, x.new_zeros(()))),
    "Clip": clip,
    "Softmax": softmax,
    "Where": _plain(torch.where),
    "Equal": _plain(torch.eq),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "Not": _plain(torch.logical_not),
    "And": _plain(torch.logical_and),
    "Or": _plain(torch.logical_or),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "Gemm": gemm,
    "MatMul": _plain(torch.matmul),
}
