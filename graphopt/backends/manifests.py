"""What a backend says of the artefact that it built: how a device loads it, and what goes in and comes out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import onnx

from graphopt.config.precision import is_integer
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.ir.quantised import is_quantised, steps_of


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

    Raises:
        GraphoptError: the target computes in integers, and the network is in float: it has no ranges but random ones.
    """
    if is_integer(target.precision) and not is_quantised(model):
        raise GraphoptError(
            f"target {target.name} computes in {target.precision}, and the network is in float; give a network that is "
            "quantised on images (graphopt quantise, or the stage quantise of graphopt run)"
        )
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
        "precision": target.precision,
        "inputs": [_operand(model, value, images_in) for value in inputs],
        "outputs": [_operand(model, value, images_in) for value in model.graph.output],
    }


def _operand(model: onnx.ModelProto, value: onnx.ValueInfoProto, images_in: str | None) -> dict[str, Any]:
    tensor = value.type.tensor_type
    dtype = images_in or np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    shape = [dim.dim_value or None for dim in tensor.shape.dim]  # None: free
    steps = steps_of(model, value.name)
    return {
        "name": value.name,
        "layout": "NCHW",
        "shape": shape,
        "dtype": dtype,
        "range": [0.0, 1.0],
        "quantisation": None if steps is None else asdict(steps),
    }
