"""Small networks for the NPU, and its target with other figures."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from graphopt.backends.qnn.log import CompiledFacts
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.targets import load_target

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason="onnxruntime-qnn is not installed (graphopt[qnn])"
)
FACTS = CompiledFacts(30_000_000, 10_000_000, 2_000_000, 4_000_000, 100, 59, 22, 5, graphs=1)


def network(nodes: str, name: str = "g", **weights: tuple[int, ...]) -> onnx.ModelProto:
    image = "float[1,16,32,32]"
    made = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 20]> {name} ({image} x) => ({image} y) {{ {nodes} }}'
    )
    generator = np.random.default_rng(0)
    for key, shape in weights.items():
        values = generator.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, key))
    for index, node in enumerate(made.graph.node):
        node.name = f"block/{node.op_type}_{index}"
    return made


def convolution() -> onnx.ModelProto:
    return network(
        "a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) y = Relu(a)", "small", w=(16, 16, 3, 3), b=(16,)
    )


def quantised(activations: str) -> onnx.ModelProto:
    """A convolution in QDQ form: weights of 8 bits, activations of a type as ONNX spells it."""
    text = f"""<ir_version: 10, opset_import: ["" : 21]> small (float[1,16,32,32] x) => (float[1,16,32,32] y)
        <float s = {{0.01}}, {activations} z = {{0}}, float sw = {{0.01}}, uint8 zw = {{128}}> {{
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, sw, zw)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(d, v)
        e = QuantizeLinear(c, s, z) y = DequantizeLinear(e, s, z) }}"""
    made = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).integers(0, 256, (16, 16, 3, 3), dtype=np.uint8)
    made.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return made


def refused() -> onnx.ModelProto:
    """Celu between two convolutions: the NPU has no such op."""
    conv = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>"
    return network(f"a = {conv}(x, w) c = Celu(a) y = {conv}(c, w)", w=(16, 16, 3, 3))


def hexagon(**compiler: Any) -> NpuTarget:
    """The target that ships, with other figures of the chip."""
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    return target.model_copy(update={"npu_compiler": target.npu_compiler.model_copy(update=compiler)})


def with_parameters(**values: float) -> NpuTarget:
    """The target that ships, with other parameters of the regression."""
    target = hexagon()
    model = target.npu_model
    changed = {name: getattr(model, name).model_copy(update={"value": value}) for name, value in values.items()}
    return target.model_copy(update={"npu_model": model.model_copy(update=changed)})
