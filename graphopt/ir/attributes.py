"""Attributes of nodes as patterns compare them: wherever an opset keeps them, defaults included, axes from zero."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx
import onnx_graphsurgeon as gs

# Where newer opsets take an attribute's value from an input; the axes of every reduction are input 1.
INPUT_ATTRIBUTES = {("Split", "split"): 1, ("Clip", "min"): 1, ("Clip", "max"): 2, ("Pad", "pads"): 1}
AXES_INPUTS = frozenset({"Squeeze", "Unsqueeze"})


def attribute(node: gs.Node, name: str) -> Any:
    """An attribute's value, also where it is a constant input or ONNX's default. Lists come as tuples, axes >= 0."""
    value = node.attrs.get(name)
    position = INPUT_ATTRIBUTES.get((node.op, name))
    if name == "axes" and (node.op.startswith("Reduce") or node.op in AXES_INPUTS):
        position = 1
    if value is None and position is not None and len(node.inputs) > position:
        operand = node.inputs[position]
        value = operand.values.tolist() if isinstance(operand, gs.Constant) else None
    if value is None:
        value = _default_of_conv(node, name) if node.op == "Conv" else None
    if value is None:
        value = _defaults(node.op).get(name)
    return from_zero(node, name, value)


def from_zero(node: gs.Node, name: str, value: Any) -> Any:
    """A tuple for a list, and axes that count from the front."""
    if name == "axis" and isinstance(value, int):
        rank = _rank(node)
        return value % rank if rank else value
    if name == "axes" and value is not None and not callable(value):
        axes = (value,) if isinstance(value, int) else value
        rank = _rank(node)
        if rank and node.op == "Unsqueeze":  # it counts the axes of its result
            rank += len(axes)
        return tuple(sorted(axis % rank for axis in axes)) if rank else tuple(axes)
    return tuple(value) if isinstance(value, list) else value


def _rank(node: gs.Node) -> int | None:
    shape = node.inputs[0].shape if node.inputs else None
    return None if shape is None else len(shape)


def _default_of_conv(node: gs.Node, name: str) -> Any:
    """ONNX takes these from the weight: they have no default that could be looked up."""
    weight = node.inputs[1]
    if not isinstance(weight, gs.Constant):
        return None
    kernel = tuple(weight.values.shape[2:])
    same = node.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER") and max(kernel) > 1
    pads = None if same else (0,) * (2 * len(kernel))
    return {"kernel_shape": kernel, "strides": (1,) * len(kernel), "dilations": (1,) * len(kernel), "pads": pads}.get(
        name
    )


@cache
def _defaults(kind: str) -> dict[str, Any]:
    """What ONNX says of attributes that a node leaves out."""
    if not onnx.defs.has(kind):
        return {}
    attributes = onnx.defs.get_schema(kind).attributes.items()
    found = {name: onnx.helper.get_attribute_value(a.default_value) for name, a in attributes if a.default_value.type}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
