"""Which node of a network is the first that a runtime gets wrong."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

import onnx


def first_wrong(model: onnx.ModelProto, is_wrong: Callable[[onnx.ModelProto], bool]) -> onnx.NodeProto:
    """The last node of the shortest beginning of a network that is wrong as a whole.

    Halves what is left each time: a beginning gives all that the rest reads of it, so that what holds one that is wrong
    is wrong, too.
    """
    nodes = model.graph.node

    def wrong(length: int) -> bool:
        part = beginning(model, length)
        return bool(part.graph.output) and is_wrong(part)

    return nodes[bisect_left(range(1, len(nodes)), True, key=wrong)]


def beginning(model: onnx.ModelProto, length: int) -> onnx.ModelProto:
    """The first `length` nodes. It gives the float tensors that later nodes read, or that the network gives."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    first, rest = graph.node[:length], graph.node[length:]
    read = _names(node.input for node in rest) | {value.name for value in graph.output}
    made_here = [known[name] for node in first for name in node.output if name in read and name in known]
    outputs = [value for value in made_here if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    used = _names(node.input for node in first)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for field, kept in (
        (made.graph.node, first), (made.graph.output, outputs),
        (made.graph.input, [value for value in graph.input if value.name in used]),
        (made.graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used]),
    ):  # fmt: skip
        content = list(kept)
        del field[:]
        field.extend(content)
    return made


def _names(groups: Iterable[Iterable[str]]) -> set[str]:
    return {name for group in groups for name in group if name}
