"""What a backend says of the artefact that it built: how a device loads it, and what goes in and comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from graphopt.cost.target import Target


def manifest_of(
    model: onnx.ModelProto,
    target: Target,
    format: str,
    runtime: tuple[str, str],
    loaded_by: str,
    *,
    delegate: str = "",
    images_in: str | None = None,
) -> dict[str, Any]:
    """What every manifest says: the target, what loads the first file, and the graph's inputs and outputs in order.

    `format`: of the first file: onnx, tflite, mnn, qnn-context, opencl, tvm, or yours. `runtime`: what loads it, its
    name and the version that it is made for; `loaded_by` says it in words. `delegate`: which part of the runtime
    computes, where it has several. `images_in`: the dtype of inputs and outputs, where it is not the model's own.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return {
        "target": target.name,
        "title": target.title,
        "kind": target.kind,
        "format": format,
        "runtime": {"name": runtime[0], "version": runtime[1]},
        "loaded_by": loaded_by,
        "delegate": delegate,
        "precision": target.dtype,
        "inputs": [_operand(value, images_in) for value in inputs],
        "outputs": [_operand(value, images_in) for value in model.graph.output],
    }


def _operand(value: onnx.ValueInfoProto, images_in: str | None) -> dict[str, Any]:
    tensor = value.type.tensor_type
    dtype = images_in or np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    shape = [dim.dim_value or None for dim in tensor.shape.dim]  # None: free
    return {"name": value.name, "layout": "NCHW", "shape": shape, "dtype": dtype, "range": [0.0, 1.0]}
