"""Exact respellings of what MNN's converter or runtime reads wrongly without a word (tried with 3.6.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.backends.mnn.resizing import is_misread, matrix
from graphopt.cost.counts import Shapes, static_shapes

Nodes = list[onnx.NodeProto]


def respelled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes the same, in words that MNN takes. What a node becomes begins with its name."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    context = _Context(made)
    nodes = [new for node in model.graph.node for new in context.respell(node)]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


class _Context:
    """What a respelling may read of the graph, and the constants that it adds."""

    def __init__(self, model: onnx.ModelProto):
        self.graph = model.graph
        self.shapes: Shapes = static_shapes(model)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def respell(self, node: onnx.NodeProto) -> Nodes:
        rule = _RULES.get(node.op_type)
        return rule(self, node) if rule is not None else [node]

    def values(self, name: str) -> np.ndarray | None:
        found = self.constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def constant(self, name: str, values: np.ndarray) -> str:
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name


def _square(context: _Context, node: onnx.NodeProto) -> Nodes:
    """A square is a product: MNN fuses a norm with a square inside as if it were over channels, whatever it is over."""
    exponent = context.values(node.input[1])
    if exponent is None or exponent.size != 1 or exponent.item() != 2:
        return [node]
    means = [reader for reader in context.readers.get(node.output[0], ()) if reader.op_type == "ReduceMean"]
    if all(_axes(context, mean) == [1] for mean in means):
        return [node]
    return [helper.make_node("Mul", [node.input[0]] * 2, node.output, node.name)]


def _axes(context: _Context, mean: onnx.NodeProto) -> list[int] | None:
    values = context.values(mean.input[1]) if len(mean.input) > 1 else None
    rank = len(context.shapes[mean.input[0]])
    return None if values is None else [int(axis) % rank for axis in values]


def _in_pairs(context: _Context, node: onnx.NodeProto) -> Nodes:
    """Two at a time: of more, MNN reads past the end of those that are broadcast."""
    if len(node.input) < 3:
        return [node]
    made, sofar = [], node.input[0]
    for number, name in enumerate(node.input[1:], 1):
        suffix = "" if number == len(node.input) - 1 else f"_pair{number}"
        output = node.output[0] + suffix
        made.append(helper.make_node(node.op_type, [sofar, name], [output], node.name + suffix))
        sofar = output
    return made


def _with_strides(context: _Context, node: onnx.NodeProto) -> Nodes:
    """Strides of 1, said: where nothing is said, MNN divides by zero."""
    if any(attribute.name == "strides" for attribute in node.attribute):
        return [node]
    made = onnx.NodeProto()
    made.CopyFrom(node)
    kernel = next(attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape")
    made.attribute.append(helper.make_attribute("strides", [1] * len(kernel)))
    return [made]


def _with_sizes(context: _Context, node: onnx.NodeProto) -> Nodes:
    """Sizes of the parts of a Split, said: MNN makes them all alike."""
    if len(node.input) > 1 and node.input[1]:
        return [node]
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    sizes = [context.shapes[name][axis] for name in node.output]
    name = context.constant(f"{node.output[0]}_sizes", np.array(sizes, np.int64))
    return [helper.make_node("Split", [node.input[0], name], node.output, node.name, axis=axis)]


def _of_all_axes(context: _Context, node: onnx.NodeProto) -> Nodes:
    """Pads of all axes: MNN ignores which ones are meant, and writes past the end."""
    axes = context.values(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    pads = context.values(node.input[1])
    if axes is None or pads is None:
        return [node]
    rank = len(context.shapes[node.input[0]])
    whole = np.zeros((2, rank), np.int64)
    whole[:, axes % rank] = pads.reshape(2, -1)
    made = onnx.NodeProto()
    made.CopyFrom(node)
    del made.input[:]
    made.input.extend([node.input[0], context.constant(f"{node.output[0]}_pads", whole.ravel()), node.input[2]])
    return [made]


def _as_products(context: _Context, node: onnx.NodeProto) -> Nodes:
    """Two products with matrices, where MNN takes other pixels."""
    before, after = context.shapes[node.input[0]], context.shapes[node.output[0]]
    scales = context.values(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    has_axes = any(attribute.name == "axes" for attribute in node.attribute)
    if not is_misread(node) or has_axes or len(before) != 4 or before[:2] != after[:2]:
        return [node]
    rows, columns = (
        matrix(node, before[axis], after[axis], None if scales is None else float(scales[axis])) for axis in (2, 3)
    )
    output = node.output[0]
    left, right = context.constant(f"{output}_rows", rows), context.constant(f"{output}_columns", columns.T.copy())
    return [
        helper.make_node("MatMul", [left, node.input[0]], [f"{output}_high"], f"{node.name}_high"),
        helper.make_node("MatMul", [f"{output}_high", right], [output], node.name),
    ]


_RULES: dict[str, Callable[[_Context, onnx.NodeProto], Nodes]] = {
    "Pow": _square,
    "Sum": _in_pairs,
    "Min": _in_pairs,
    "Max": _in_pairs,
    "AveragePool": _with_strides,
    "MaxPool": _with_strides,
    "Split": _with_sizes,
    "Pad": _of_all_axes,
    "Resize": _as_products,
}
