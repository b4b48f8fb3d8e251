"""The two nodes of a QDQ graph as the torch operators that LiteRT's converter makes integer kernels of.

LiteRT's integers are signed. Unsigned ones move down by half their range, zero points with them: the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.ir.quantised import DEQUANTISE, PAIR

_OPS = torch.ops.quantized_decomposed
_SIGNED = {"int8": torch.int8, "uint8": torch.int8, "int16": torch.int16, "uint16": torch.int16}
_LEAST_WEIGHT = -127  # of int8 weights, where none is -128: what LiteRT's kernels are specified for


@dataclass(frozen=True)
class _Steps:
    """How floats become integers: `scale`, `zero` and least and most integer of `dtype`."""

    scale: float
    zero: int
    low: int
    high: int
    dtype: torch.dtype

    @property
    def arguments(self) -> tuple[float, int, int, int, torch.dtype]:
        return self.scale, self.zero, self.low, self.high, self.dtype


def integer_module(node: gs.Node) -> nn.Module | None:
    """What a QuantizeLinear or DequantizeLinear computes; None for any other node.

    Raises:
        GraphoptError: integers that LiteRT does not compute with.
    """
    if node.op not in PAIR:
        return None
    if node.op == DEQUANTISE and isinstance(node.inputs[0], gs.Constant):
        return _constant(node)
    return _PerTensor(_steps(node), forth=node.op != DEQUANTISE)


class _PerTensor(nn.Module):
    def __init__(self, steps: _Steps, *, forth: bool):
        super().__init__()
        self._arguments = steps.arguments
        self._operator = (_OPS.quantize_per_tensor if forth else _OPS.dequantize_per_tensor).default

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self._operator(x, *self._arguments)
        return made


class _Weights(nn.Module):
    """Floats that are whole numbers of steps, turned to integers and back: the form that the converter knows."""

    def __init__(self, values: np.ndarray, scale: np.ndarray, axis: int, low: int):
        super().__init__()
        for name, array in (("values", values), ("scale", scale), ("zero", np.zeros(len(scale), np.int64))):
            self.register_buffer(name, torch.from_numpy(array))
        self._arguments = axis, low, 127, torch.int8

    def forward(self) -> Tensor:
        given = self.scale, self.zero, *self._arguments
        made: Tensor = _OPS.dequantize_per_channel.default(
            _OPS.quantize_per_channel.default(self.values, *given), *given
        )
        return made


class _Float(nn.Module):
    """Constants whose steps the converter finds: of a bias, from those of what it is added to; of a transposed
    convolution, from the largest weight of each channel. What it is told of the latter it does not take.
    """

    def __init__(self, values: np.ndarray):
        super().__init__()
        self.register_buffer("values", torch.from_numpy(values))

    def forward(self) -> Tensor:
        return self.get_buffer("values")


def _constant(node: gs.Node) -> nn.Module:
    values, scale = np.asarray(node.inputs[0].values), np.atleast_1d(np.asarray(node.inputs[1].values, np.float32))
    zero = _zero(node).astype(np.int64)
    axis = int(node.attrs.get("axis", 1)) % max(1, values.ndim)
    along = [-1 if i == axis and len(scale) > 1 else 1 for i in range(values.ndim)]
    if zero.any() and values.dtype == np.int8:
        raise _refused(node, "weights with a zero point; LiteRT's have none: quantise for the device litert")
    floats = (values - zero.reshape(along if zero.size > 1 else -1)).astype(np.float32) * scale.reshape(along)
    if values.dtype != np.int8 or any(reader.op == "ConvTranspose" for reader in node.outputs[0].outputs):
        return _Float(floats)
    scale = np.broadcast_to(scale, values.shape[axis : axis + 1]).copy()
    return _Weights(floats, scale, axis, min(_LEAST_WEIGHT, int(values.min(initial=0))))


def _steps(node: gs.Node) -> _Steps:
    scale, zero = np.asarray(node.inputs[1].values, np.float32), _zero(node)
    kind = zero.dtype.name
    if kind not in _SIGNED or scale.size != 1:
        found = f"{kind}, {scale.size} scales" if scale.size != 1 else kind
        raise _refused(node, f"activations as {found}; LiteRT has int8 with one scale: quantise for the device litert")
    limits = np.iinfo(kind)
    down = (int(limits.max) + 1) // 2 if limits.min == 0 else 0
    placed = int(zero.reshape(())) - down
    if limits.bits > 8 and placed:
        raise _refused(node, f"a zero point of {int(zero.reshape(()))} in 16 bits; LiteRT has none there")
    return _Steps(float(scale.reshape(())), placed, int(limits.min) - down, int(limits.max) - down, _SIGNED[kind])


def _zero(node: gs.Node) -> np.ndarray:
    if len(node.inputs) > 2:
        return np.asarray(node.inputs[2].values)
    held = node.inputs[0].values.dtype if isinstance(node.inputs[0], gs.Constant) else np.dtype(np.uint8)
    return np.zeros((), held)


def _refused(node: gs.Node, what: str) -> GraphoptError:
    return GraphoptError(f"{node.op} '{node.name}' has {what}")
