"""A Resize whose pixels MNN computes wrongly, as two matrix products: along the height, then along the width."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def is_misread(node: onnx.NodeProto) -> bool:
    """Cubic with half pixels, and nearest that rounds up: tried with MNN 3.6.1, which reads all others rightly."""
    said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if said.get("mode", b"nearest") == b"nearest":
        return said.get("nearest_mode") in (b"ceil", b"round_prefer_ceil")
    coordinates = said.get("coordinate_transformation_mode", b"half_pixel")
    return said["mode"] == b"cubic" and coordinates in (b"half_pixel", b"pytorch_half_pixel")


def matrix(node: onnx.NodeProto, before: int, after: int, scale: float | None) -> NDArray[Any]:
    """(after, before): what the Resize does along one axis, as onnxruntime does it. `scale`: as the node says it."""
    from graphopt.ir.session import OnnxSession

    if before == after and scale in (None, 1):
        return np.eye(before, dtype=np.float32)
    one = onnx.NodeProto()
    one.CopyFrom(node)
    one.input[:] = ["x", "", "s", ""] if scale is not None else ["x", "", "", "s"]
    one.output[:] = ["y"]
    sizes = np.array([1, 1, scale, 1], np.float32) if scale is not None else np.array([1, 1, after, before], np.int64)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, before, before])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, after, before])
    graph = helper.make_graph([one], "axis", [image], [made], [numpy_helper.from_array(sizes, "s")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return OnnxSession(model, threads=1).run(np.eye(before, dtype=np.float32)[None, None])[0, 0]
