"""Multiply-accumulates as the NPU does them: it keeps channels in groups of 32, and computes what fills a group up.

Qualcomm's guide for networks on this NPU says so ("Avoid low depth activations"). A 9x9 convolution from 64 channels
to 3 costs as much as one to 32, and nothing that the compiler logs tells the two apart.
"""

from __future__ import annotations

from math import prod

import onnx

from graphopt.cost.counts import Shapes, macs_of, static_shapes

_GROUP = 32
_FEW = 4  # an image of so many channels is kept in a group of its own


def padded_macs(model: onnx.ModelProto) -> int:
    """MACs of all convolutions and matrix products, channels of inputs and outputs rounded up.

    Depthwise convolutions count as they are; of other grouped ones only the outputs are rounded.

    Raises:
        GraphoptError: a shape that is not static.
    """
    shapes = static_shapes(model)
    return sum(_padded(node, shapes) for node in model.graph.node)


def _padded(node: onnx.NodeProto, shapes: Shapes) -> int:
    macs = macs_of(node, shapes)
    if not macs:
        return 0
    if node.op_type in ("MatMul", "Gemm"):
        outputs = shapes[node.output[0]]
        inner = macs // prod(outputs)
        return macs // inner // outputs[-1] * _up(inner) * _up(outputs[-1])
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    weight = shapes[node.input[1]]
    is_transposed = node.op_type == "ConvTranspose"
    inputs = weight[0] if is_transposed else weight[1] * groups
    outputs_of = weight[1] * groups if is_transposed else weight[0]
    return padded_convolution(macs, inputs, outputs_of, groups)


def padded_convolution(macs: int, inputs: int, outputs: int, groups: int) -> int:
    """Of a convolution that does `macs` from `inputs` channels to `outputs`, in so many `groups`."""
    if groups > 1:
        return macs if inputs == groups else macs // outputs * _up(outputs)
    read = _FEW if inputs <= _FEW else _up(inputs)
    return macs // (inputs * outputs) * read * _up(outputs)


def _up(channels: int) -> int:
    return -(-channels // _GROUP) * _GROUP
