"""The memory that onnxruntime takes for a network: its plan over the graph that it makes of it, in blocked layout."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path

import onnx

from graphopt.backends.onnxruntime.integer_plan import integer_bytes
from graphopt.backends.onnxruntime.session import open_session
from graphopt.backends.onnxruntime.windows import windows
from graphopt.cost.counts import static_shapes
from graphopt.cost.memory import activation_bytes, image_bytes, weight_bytes
from graphopt.ir.quantised import is_quantised

_BLOCKED = "com.microsoft.nchwc"
_FLOAT = 4  # bytes of an element: half precision is no type that this provider computes in
_NODE_BYTES = 5632  # of a node's kernel, names and places in the plan: 4.6 to 6.3 kB on networks of 350 to 1560 nodes


def planned_bytes(model: onnx.ModelProto, threads: int) -> int:
    """Bytes at the peak: weights, image, nodes, and activations, with channels filled up to blocks in that layout; of
    a QDQ model, what its integer convolutions set aside beside them.
    """
    made = optimised(model, threads)
    if is_quantised(model):
        return image_bytes(model, _FLOAT) + len(made.graph.node) * _NODE_BYTES + integer_bytes(made, model)
    activations = activation_bytes(made, _FLOAT, tensor_shapes(made, model))
    fixed = weight_bytes(made, _FLOAT) + image_bytes(model, _FLOAT)
    return fixed + len(made.graph.node) * _NODE_BYTES + activations


def optimised(model: onnx.ModelProto, threads: int) -> onnx.ModelProto:
    """The graph that onnxruntime runs in place of the model, on this processor."""
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        path = Path(folder) / "optimised.onnx"
        open_session(model.SerializeToString(), threads, path)
        return onnx.load(path)


def tensor_shapes(made: onnx.ModelProto, model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of all tensors of a graph that onnxruntime made of the model. In the blocked layout channels are filled up to
    whole blocks; elsewhere tensors are what they were, or onnxruntime has written down what they are.
    """
    graph = made.graph
    shapes = dict(static_shapes(model))
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in graph.value_info:
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    outputs = [shapes[node.input[1]][0] for node in graph.node if node.domain == _BLOCKED and node.op_type == "Conv"]
    block = min(outputs, default=1)
    for node in graph.node:
        for name in filter(None, node.output):
            if name not in shapes or (node.domain == _BLOCKED and node.op_type != "ReorderOutput"):
                shapes[name] = _shape(node, shapes, block)
    return shapes


def _shape(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], block: int) -> tuple[int, ...]:
    read, options = shapes[node.input[0]], {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "ReorderInput":
        batch, channels, *size = (read[0], read[-1], *read[1:-1]) if options.get("channels_last") else read
        return (batch, -(-channels // block) * block, *size)
    if node.op_type == "Conv":
        weight = shapes[node.input[1]]
        return (read[0], weight[0], *windows(read[2:], {"kernel_shape": weight[2:], **options}))
    if node.op_type in ("MaxPool", "AveragePool"):
        return (*read[:2], *windows(read[2:], options))
    if node.op_type.startswith("Global"):
        return (*read[:2], 1, 1)
    if node.op_type == "Upsample":
        return (*read[:2], *(size * scale for size, scale in zip(read[2:], options["scales"][-2:], strict=True)))
    return max((shapes[name] for name in node.input if name), key=prod)  # of one element each
