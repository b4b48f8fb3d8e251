"""The memory that onnxruntime takes for a QDQ file: tensors in bytes, what integer convolutions set aside for
themselves, and the arena that all of it comes from.

What a convolution sets aside is read off its source (core/providers/cpu/quantization/qlinearconv.cc): pointers to the
pixels that each pixel reads, or those pixels themselves; sums of 32 bits where its kernel does not round them itself; a
copy of its input and output where it stands between tensors with channels first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import onnx
from onnx import numpy_helper

from graphopt.backends.onnxruntime.arena import resident_bytes
from graphopt.backends.onnxruntime.windows import windows
from graphopt.cost.counts import static_shapes
from graphopt.cost.memory import buffers

_SUM, _POINTER = 4, 8  # bytes
_BLOCK = 16  # channels: fewer outputs, or groups that are no multiple, have no kernel that rounds
_BYTES = {"QuantizeLinear": 1, "DequantizeLinear": 4}

Shape = tuple[int, ...]


def integer_bytes(made: onnx.ModelProto, model: onnx.ModelProto) -> int:
    """Bytes of weights and of the arena, for the graph `made` that onnxruntime makes of a QDQ `model`."""
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    shapes: dict[str, Shape] = dict(static_shapes(model))
    known = frozenset(shapes)
    shapes |= {name: tuple(tensor.dims) for name, tensor in weights.items()}
    width = {name: numpy_helper.to_array(tensor).itemsize for name, tensor in weights.items()}
    alone = []
    for node in made.graph.node:
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        outputs = _outputs(node, options, shapes, weights, known)
        alone.append(set_aside(options, shapes, outputs[0], node) if node.op_type == "QLinearConv" else [])
        element = _BYTES.get(node.op_type, 1 if node.op_type.startswith("QLinear") else width.get(node.input[0], _SUM))
        for name, shape in zip(node.output, outputs, strict=True):
            shapes[name], width[name] = shape, element
    in_bytes = {name: (*shape, width.get(name, _SUM)) for name, shape in shapes.items()}
    held = [(prod(one.shape), one.first, one.last) for one in buffers(made, in_bytes)]
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in weights.values()) + resident_bytes(held, alone)


def set_aside(options: Mapping[str, Any], shapes: Mapping[str, Shape], made: Shape, node: onnx.NodeProto) -> list[int]:
    """Bytes of each buffer that an integer convolution takes while it makes a tensor of the shape `made`."""
    read, weight = shapes[node.input[0]], shapes[node.input[3]]
    last, group = bool(options.get("channels_last", 0)), int(options.get("group", 1))
    pixels, window = prod(made[1:-1] if last else made[2:]), prod(weight[2:])
    depthwise = weight[1] == 1 and weight[0] == group
    rounds = group % _BLOCK == 0 if depthwise else group == 1 and weight[0] >= _BLOCK
    found = [] if rounds else [_SUM * pixels * weight[0]]
    if not last:
        found += [prod(read), prod(made)]
    moved = window > 1 or any(options.get("pads", ())) or any(step > 1 for step in options.get("strides", ()))
    if depthwise or (moved and rounds):
        found.append(_POINTER * window * pixels)
    elif moved:
        found.append(weight[1] * window * pixels)
    return found


def _outputs(
    node: onnx.NodeProto, options: Mapping[str, Any], shapes: Mapping[str, Shape], weights: Mapping[str, Any],
    known: frozenset[str],
) -> list[Shape]:  # fmt: skip
    """Of those that onnxruntime moves to channels last, too, where names say nothing of it."""
    read = shapes[node.input[0]]
    if node.op_type == "QLinearConv":
        weight, last = shapes[node.input[3]], options.get("channels_last", 0)
        size = windows(read[1:-1] if last else read[2:], {"kernel_shape": weight[2:], **options})
        return [(read[0], *size, weight[0]) if last else (read[0], weight[0], *size)]
    if node.op_type == "Transpose":
        return [tuple(read[axis] for axis in options["perm"])]
    if node.op_type == "ReduceMean" and len(node.input) > 1 and options.get("keepdims", 1):
        axes = {int(axis) % len(read) for axis in numpy_helper.to_array(weights[node.input[1]])}
        return [tuple(1 if axis in axes else size for axis, size in enumerate(read))]
    if node.op_type == "Split":
        axis = int(options.get("axis", 0)) % len(read)
        even = [-(-read[axis] // len(node.output))] * len(node.output)
        sizes = numpy_helper.to_array(weights[node.input[1]]).tolist() if len(node.input) > 1 else even
        return [(*read[:axis], size, *read[axis + 1 :]) for size in sizes]
    if node.op_type == "Resize" and len(node.input) == 3:
        scales = numpy_helper.to_array(weights[node.input[2]])
        return [tuple(int(size * scale) for size, scale in zip(read, scales, strict=True))]
    largest = max((shapes[name] for name in node.input if name), key=prod)  # of one element each
    return [shapes[name] if name in known else largest for name in node.output]
