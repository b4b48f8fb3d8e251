"""What users take away: the network as ONNX in fp32 and in fp16, and its weights alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError
from graphopt.ir.difference import relative_difference
from graphopt.ir.half import to_fp16
from graphopt.ir.session import OnnxSession
from graphopt.quantise.overflow import overflows
from graphopt.run.folder import RunFolder

Array = NDArray[Any]
DO = "scale what these nodes read down, and their result up again, or train with smaller values"
FP16_TOLERANCE = 2e-2  # relative, largest pixel; half precision keeps 11 bits


def write_exports(model: onnx.ModelProto, image: Array, folder: RunFolder) -> tuple[dict[str, float], str]:
    """Writes model.onnx, model.fp16.onnx and model.safetensors, verified on `image` (1, C, H, W) with onnxruntime.

    Returns by how much the others differ from the fp32 file (relative), and what half precision cannot hold, in words:
    the nodes that touch it stay in fp32. onnxruntime computes halves in floats on CPUs, so it would not show.
    """
    onnx.checker.check_model(model, full_check=True)
    folder.model.write(model)
    _save_weights(model, folder)
    beyond, name = overflows(model, [image]), folder.name(folder.half_model.path)
    folder.half_model.write(to_fp16(model, beyond.nodes))
    expected = OnnxSession(folder.model.read()).run(image)
    halved = OnnxSession(folder.half_model.read()).run(image.astype(np.float32))
    said = beyond.why()
    note = f"{name} keeps {len(beyond.nodes)} nodes in fp32: {said}; devices in fp16 do not: {DO}" if said else ""
    return {name: difference(halved, expected, FP16_TOLERANCE, name)}, note


def difference(found: Array, expected: Array, tolerance: float, label: str) -> float:
    """The relative one. GraphoptError where it is above `tolerance`."""
    off = relative_difference(found, expected)
    if not off <= tolerance:
        raise GraphoptError(f"{label} differs from model.onnx by {off:.2e} relative (allowed {tolerance:g})")
    return off


def _save_weights(model: onnx.ModelProto, folder: RunFolder) -> None:
    """The initialisers under their names, as safetensors that say whose they are."""
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    about = {"format": "pt", "weights_of": folder.name(folder.model.path)}
    with replacing(folder.weights) as temporary:
        temporary.write_bytes(save(weights, about))  # save_file hides it from other users
