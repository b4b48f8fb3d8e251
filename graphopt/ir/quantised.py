"""Graphs that are quantised already (QDQ): QuantizeLinear and DequantizeLinear where numbers turn into integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from graphopt.errors import GraphoptError

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
PAIR = frozenset({QUANTISE, DEQUANTISE})


@dataclass(frozen=True)
class Steps:
    """How the numbers of a tensor turn into integers of `dtype` and back: value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int
    dtype: str


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether any node of the graph turns numbers into integers or back."""
    return any(node.op_type in PAIR for node in model.graph.node)


def check_float(model: onnx.ModelProto, where: str, purpose: str) -> None:
    """GraphoptError where the model is quantised: `purpose` needs its numbers as they were."""
    if is_quantised(model):
        raise GraphoptError(
            f"{where} is quantised (QDQ), and {purpose} a network in float: give the file that it was made of, and "
            "quantise what comes out (graphopt quantise)"
        )


def integer_weights(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the initialisers that a DequantizeLinear turns into weights; scales and zero points are none."""
    initialisers = {tensor.name for tensor in model.graph.initializer}
    read = {node.input[0] for node in model.graph.node if node.op_type == DEQUANTISE}
    return frozenset(initialisers & read)


def step_constants(model: onnx.ModelProto) -> frozenset[str]:
    """Names of scales and zero points."""
    return frozenset(name for node in model.graph.node if node.op_type in PAIR for name in node.input[1:])


def steps_of(model: onnx.ModelProto, tensor: str) -> Steps | None:
    """Of an input that is quantised before anything reads it, or an output that is dequantised at the very end; None
    where the tensor itself is computed with.
    """
    constants = {initialiser.name: initialiser for initialiser in model.graph.initializer}
    for node in model.graph.node:
        quantises = node.op_type == QUANTISE and node.input[0] == tensor
        if not quantises and not (node.op_type == DEQUANTISE and node.output[0] == tensor):
            continue
        scale = numpy_helper.to_array(constants[node.input[1]])
        zero = numpy_helper.to_array(constants[node.input[2]]) if node.input[2:] else np.uint8(0)  # as ONNX has it
        return Steps(float(scale), int(zero), np.dtype(zero.dtype).name)
    return None


def output_step(model: onnx.ModelProto) -> float:
    """By how much the first output changes with one of its integers; of an output that is computed in float, a step of
    8 bits between 0 and 1.
    """
    steps = steps_of(model, model.graph.output[0].name)
    return steps.scale if steps else 1 / 255
