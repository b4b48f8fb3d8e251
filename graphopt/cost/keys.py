"""Hashes of what decides a price: the graph without its names and weights, and the figures of a target."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from graphopt.cost.target import Target
from graphopt.ir.quantised import integer_weights, step_constants

_WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def hash_of(content: Any) -> str:
    """A hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def figures_of(target: Target) -> dict[str, Any]:
    """All that a target's file says, without what changes no price: name, title, sources and units.

    Of its precision the type of floats alone: a graph says of itself whether it is quantised.
    """
    said = target.model_dump(mode="json", exclude={"name", "title", "precision"})
    figures: dict[str, Any] = _without_sources({**said, "dtype": target.dtype})
    return figures


def graph_key(model: onnx.ModelProto) -> str:
    """A hash of operators, attributes, wiring, shapes and dtypes, and of integer and scalar constants.

    Blind to names and to the values of weights, and to scales and zero points of a quantised network. Tensors are
    numbered in the order in which nodes use them.
    """
    graph = model.graph
    numbers: dict[str, int] = {"": 0}
    parts: list[Any] = [[(opset.domain, opset.version) for opset in model.opset_import]]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    learned = integer_weights(model) | step_constants(model)
    for value in graph.input:
        if value.name not in constants:
            parts.append((_number(value.name, numbers), _type(value)))
    for node in graph.node:
        inputs = []
        for name in node.input:
            new = name not in numbers
            inputs.append(_number(name, numbers))
            if new and name in constants:
                parts.append((numbers[name], _constant(constants[name], name in learned)))
        attributes = [_attribute(attribute) for attribute in sorted(node.attribute, key=lambda a: a.name)]
        outputs = [_number(name, numbers) for name in node.output]
        parts.append((node.domain, node.op_type, inputs, attributes, outputs))
    parts.append([_number(value.name, numbers) for value in graph.output])
    return hash_of(parts)


def _without_sources(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_sources(value) for key, value in content.items() if key not in ("source", "unit")}
    return content


def _number(name: str, numbers: dict[str, int]) -> int:
    return numbers.setdefault(name, len(numbers))


def _type(value: onnx.ValueInfoProto) -> tuple[int, list[int]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, [dim.dim_value for dim in tensor.shape.dim]


def _constant(tensor: onnx.TensorProto, is_learned: bool = False) -> list[Any]:
    is_learned = is_learned or (tensor.data_type in _WEIGHTS and bool(tensor.dims))
    values = None if is_learned else numpy_helper.to_array(tensor).tolist()
    return [tensor.data_type, list(tensor.dims), values]


def _attribute(attribute: onnx.AttributeProto) -> list[Any]:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return [attribute.name, _constant(attribute.t)]
    stripped = onnx.AttributeProto()
    stripped.CopyFrom(attribute)
    stripped.ClearField("doc_string")
    return [stripped.SerializeToString(deterministic=True).hex()]
