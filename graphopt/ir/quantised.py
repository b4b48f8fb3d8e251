"""Graphs that are quantised already (QDQ): QuantizeLinear and DequantizeLinear where numbers turn into integers."""

from __future__ import annotations

import onnx

from graphopt.errors import GraphoptError

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
PAIR = frozenset({QUANTISE, DEQUANTISE})


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
