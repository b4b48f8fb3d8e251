"""Reading a node's attributes and operands: what is constant is read once, the rest when the graph runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from torch import Tensor

from graphopt.errors import GraphoptError

Op = Callable[..., Any]  # tensors in the order of the node's inputs (None where omitted) -> a tensor or a tuple
OpBuilder = Callable[[gs.Node], Op]
Reader = Callable[[Sequence["Tensor | None"]], "list[Any] | None"]


def where(node: gs.Node) -> str:
    """How messages name a node."""
    return f"node '{node.name}' ({node.op})"


def unsupported(node: gs.Node, what: str, remedy: str = "rewrite the graph without it") -> GraphoptError:
    return GraphoptError(f"{where(node)}: {what} cannot run in torch; {remedy}")


def constant_value(tensor: gs.Tensor) -> NDArray[Any] | None:
    """The value of an initialiser or of the output of a Constant node; None for any other tensor."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    if tensor.inputs and tensor.inputs[0].op == "Constant":
        return constant_of(tensor.inputs[0])
    return None


def constant_of(node: gs.Node) -> NDArray[Any]:
    """The array that a Constant node holds."""
    for name, value in node.attrs.items():
        if name == "value":
            return np.asarray(value.values if isinstance(value, gs.Constant) else value)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise unsupported(node, f"a constant with the attributes {sorted(node.attrs)}", "store it as a tensor")


def present(node: gs.Node, index: int) -> bool:
    """True where the optional operand `index` is there."""
    return index < len(node.inputs) and bool(node.inputs[index].name)


def fixed(node: gs.Node, index: int) -> list[Any] | None:
    """The operand `index` as a list of numbers, where it is a constant."""
    value = constant_value(node.inputs[index]) if present(node, index) else None
    return None if value is None else value.reshape(-1).tolist()


def reader(node: gs.Node, index: int, attribute: str | None = None) -> Reader:
    """Reads a list of numbers: a constant, an operand computed by the graph, or (older opsets) an attribute."""
    if present(node, index):
        values = fixed(node, index)
        if values is None:
            return lambda operands: _tolist(operands[index])
    else:
        given = node.attrs.get(attribute) if attribute else None
        values = None if given is None else [given] if isinstance(given, int | float) else list(given)
    return lambda operands: values


def _tolist(operand: Tensor | None) -> list[Any]:
    assert operand is not None
    return operand.reshape(-1).tolist()


def static_shape(tensor: gs.Tensor) -> list[int] | None:
    """The shape that the graph states, where it is complete."""
    shape = tensor.shape
    return list(shape) if shape is not None and all(isinstance(size, int) for size in shape) else None
