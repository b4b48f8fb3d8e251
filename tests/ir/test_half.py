"""Half precision: weights and arithmetic, not the images."""

from __future__ import annotations

import numpy as np
from graphs import onnx_model
from onnx import TensorProto

from graphopt.ir.half import to_fp16
from graphopt.ir.session import OnnxSession


def test_weights_are_halved_and_images_are_not() -> None:
    model = onnx_model("(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv(x, w, b) }", {"w": (4, 4, 1, 1), "b": (4,)})
    half = to_fp16(model)
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    ends = (*half.graph.input, *half.graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    image = np.random.default_rng(0).random((1, 4, 8, 8), np.float32)
    np.testing.assert_allclose(OnnxSession(half).run(image), OnnxSession(model).run(image), atol=2e-3)
