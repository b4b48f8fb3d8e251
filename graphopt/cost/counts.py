"""Counts that need no compiler: MACs and parameters of an ONNX model with static shapes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx

from graphopt.errors import GraphoptError
from graphopt.ir.quantised import integer_weights, step_constants

Shapes = Mapping[str, tuple[int, ...]]


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the graph.

    Raises:
        GraphoptError: a tensor that a node makes has no static shape.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes.setdefault(value.name, tuple(dim.dim_value for dim in dims))
    for node in inferred.node:
        for name in node.output:
            if name and name not in shapes:
                raise GraphoptError(
                    f"node {node.name or node.op_type}: '{name}' has no static shape; fix the input sizes"
                )
    return shapes


def macs_and_parameters(model: onnx.ModelProto) -> tuple[int, int]:
    """Multiply-accumulates of convolutions and matrix products, and trained values of the whole graph.

    Element-wise operations, poolings and normalisations count no MAC, as in the tables of papers. Integers, scalars
    and names that end in `_fixed` are no parameters; the integers of a quantised network's weights are.
    """
    shapes = static_shapes(model)
    macs = sum(macs_of(node, shapes) for node in model.graph.node)
    used = {name for node in model.graph.node for name in node.input} - step_constants(model)
    integers = integer_weights(model)
    parameters = sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name in used
        and tensor.dims
        and (tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) or tensor.name in integers)
        and not tensor.name.removesuffix("_quantized").endswith("_fixed")
    )
    return macs, parameters


def macs_of(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Multiply-accumulates of one node."""
    if node.op_type == "Conv":
        weight, out = shapes[node.input[1]], shapes[node.output[0]]
        return prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        weight, source = shapes[node.input[1]], shapes[node.input[0]]
        return prod(source) * prod(weight[1:])
    if node.op_type == "MatMul":
        return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]
    return 0
