"""Small ONNX models of a few operators, with random weights, as text says them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from onnx import numpy_helper

HEAD = '<ir_version: 9, opset_import: ["" : 20]>'
IMAGE = "float[1,16,64,64]"
CONV = {"w": (16, 16, 3, 3), "b": (16,)}
CONV_NODE = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)"
NORM = """mean = ReduceMean<keepdims=1>(x, axes) d = Sub(x, mean) q = Pow(d, two) v = ReduceMean<keepdims=1>(q, axes)
    e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s) f = Mul(n, scale) m = Add(f, shift)"""


def model(nodes: str, seed: int = 0, **weights: tuple[int, ...]) -> onnx.ModelProto:
    made = onnx.parser.parse_model(f"{HEAD} g ({IMAGE} x) => ({IMAGE} y) {{ {nodes} }}")
    generator = np.random.default_rng(seed)
    for name, shape in weights.items():
        values = generator.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, name))
    return made


def constant(made: onnx.ModelProto, name: str, values: Any, dtype: Any = np.float32) -> onnx.ModelProto:
    made.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
    return made


def normalised(seed: int = 0, height: int = 64) -> onnx.ModelProto:
    nodes = f"{NORM} y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(m, w, b)"
    """A LayerNorm over channels, spelled out, before a convolution, 1x16xHEIGHTx64."""
    made = model(nodes, seed, scale=(1, 16, 1, 1), shift=(1, 16, 1, 1), **CONV)
    constant(made, "axes", [1], np.int64)
    constant(made, "two", 2.0)
    constant(made, "epsilon", 1e-6)
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.shape.dim[2].dim_value = height
    return made


_TWO_INPUTS = """<ir_version: 9, opset_import: ["" : 20]>
g (float[1,8,24,32] x, float[1,8,24,32] z) => (float[1,16,24,32] y, float[1,8,24,32] t) {
    mean = ReduceMean<keepdims=1>(x, axes) d = Sub(x, mean) q = Pow(d, two) v = ReduceMean<keepdims=1>(q, axes)
    e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s)
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(n, w, b)
    p = GlobalAveragePool(a) k = Conv<kernel_shape=[1,1]>(p, c) m = Mul(a, k) y = Clip(m, low, high)
    t = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(z, f)
}"""


def two_inputs(seed: int = 0) -> onnx.ModelProto:
    """Two inputs and two outputs: norm, convolutions, attention, clamp, and a depthwise convolution by the side."""
    made = onnx.parser.parse_model(_TWO_INPUTS)
    generator = np.random.default_rng(seed)
    for name, shape in {"w": (16, 8, 3, 3), "b": (16,), "c": (16, 16, 1, 1), "f": (8, 1, 3, 3)}.items():
        values = generator.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, name))
    for name, value in {"two": 2.0, "epsilon": 1e-6, "low": -2.0, "high": 2.0}.items():
        made.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    made.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    return made


def two_images() -> list[np.ndarray]:
    """What `two_inputs` takes."""
    return list(np.random.default_rng(3).normal(size=(2, 1, 8, 24, 32)).astype(np.float32))


def two_outputs(made: onnx.ModelProto) -> list[np.ndarray]:
    """What onnxruntime computes of `two_images`."""
    session = onnxruntime.InferenceSession(made.SerializeToString())
    outputs: list[np.ndarray] = session.run(None, dict(zip(("x", "z"), two_images(), strict=True)))
    return outputs


def renamed(made: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, every node and tensor under another name."""
    names: dict[str, str] = {}
    for node in made.graph.node:
        node.name = f"other/{node.op_type}"
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = names.setdefault(name, f"tensor.{len(names)}")
    for entry in (*made.graph.input, *made.graph.output, *made.graph.initializer):
        entry.name = names[entry.name]
    return made
