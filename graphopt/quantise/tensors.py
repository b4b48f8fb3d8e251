"""The float tensors of a network, and as many of them at a time as memory holds."""

from __future__ import annotations

from math import prod

import onnx

from graphopt.cost.counts import static_shapes

_AT_ONCE = 512 * 2**20  # bytes of tensors that are held together


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of the float inputs, and of the float tensors that nodes make, in the graph's order; no constants."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {tensor.name for tensor in inferred.initializer}
    floats = {
        value.name
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in weights
    }
    given = (value.name for value in inferred.input)
    return [name for name in (*given, *(name for node in inferred.node for name in node.output)) if name in floats]


def tensors_in_groups(model: onnx.ModelProto) -> list[list[str]]:
    """The float tensors, in groups that memory holds together.

    Raises:
        GraphoptError: a tensor has no static shape.
    """
    shapes, groups, held = static_shapes(model), [[]], 0  # type: tuple[dict[str, tuple[int, ...]], list[list[str]], int]
    for name in float_tensors(model):
        size = 4 * prod(shapes[name])
        if groups[-1] and held + size > _AT_ONCE:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups
