"""A part of a network between convolutions, so that its borders are in the layout that they have inside a network.

onnxruntime computes convolutions in a blocked layout (NCHWc) and keeps it through sums, products and upsampling. A part
alone would pay for reordering at its borders what a network pays only where the layout really ends.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.cost.counts import static_shapes

_NAME = "graphopt_border"  # of the tensors that are added


def between_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose images, (1, C, H, W) with more than one pixel, come from 1x1 convolutions and go into others."""
    made, shapes = onnx.ModelProto(), static_shapes(model)
    made.CopyFrom(model)
    graph, weights = made.graph, {tensor.name for tensor in model.graph.initializer}
    first: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for value in graph.input:
        if value.name not in weights and _is_image(value, shapes[value.name]):
            renamed[value.name] = f"{_NAME}_{len(renamed)}"
            first.append(_convolution(graph, value, shapes[value.name][1], value.name, renamed[value.name]))
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    last = []
    for value in graph.output:
        if _is_image(value, shapes[value.name]):
            given, value.name = renamed.get(value.name, value.name), f"{_NAME}_{value.name}"
            last.append(_convolution(graph, value, shapes[value.name.removeprefix(f"{_NAME}_")][1], given, value.name))
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def _is_image(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> bool:
    is_real = value.type.tensor_type.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return is_real and len(shape) == 4 and shape[2] * shape[3] > 1


def _convolution(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, channels: int, read: str, written: str
) -> onnx.NodeProto:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    weight = np.full((channels, channels, 1, 1), 1 / channels, dtype)
    graph.initializer.append(numpy_helper.from_array(weight, f"{written}_weight"))
    return helper.make_node("Conv", [read, f"{written}_weight"], [written], kernel_shape=[1, 1])
