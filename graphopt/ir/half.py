"""A graph in half precision."""

from __future__ import annotations

import onnx

from graphopt.ir.canonical import to_graph, to_model


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with fp16 weights and arithmetic; its input and output stay fp32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    half = to_graph(convert_float_to_float16(copied, keep_io_types=True))
    half.toposort()  # the converter appends the casts of the input at the end
    sorted_model = to_model(half)
    onnx.checker.check_model(sorted_model, full_check=True)
    return sorted_model
