"""Parts between convolutions: every image passes one on its way in, and one on its way out."""

from __future__ import annotations

import numpy as np
import onnx
from graphs import onnx_model

from graphopt.backends.onnxruntime.surroundings import between_convolutions
from graphopt.ir.session import OnnxSession


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_images_come_from_convolutions_and_go_into_others() -> None:
    """1x1 convolutions of 1 / C: each channel becomes the mean of all."""
    part = onnx_model("(float[1,4,6,8] x, float[1,4,1,1] s) => (float[1,4,6,8] y) { a = Relu(x) y = Mul(a, s) }", {})
    made = between_convolutions(part)
    onnx.checker.check_model(made, full_check=True)
    assert kinds(made) == ["Conv", "Relu", "Mul", "Conv"]  # a vector of one pixel needs none
    assert kinds(part) == ["Relu", "Mul"]
    random = np.random.default_rng(0)
    image, scale = (random.normal(size=shape).astype(np.float32) for shape in ((1, 4, 6, 8), (1, 4, 1, 1)))
    mean = image.mean(axis=1, keepdims=True)
    expected = np.broadcast_to(np.maximum(mean, 0) * scale.mean(), image.shape)
    np.testing.assert_allclose(OnnxSession(made).run(image, scale), expected, rtol=1e-5, atol=1e-6)


def test_nothing_between_them_is_a_part_too() -> None:
    nothing = onnx_model("(float[1,4,6,8] x) => (float[1,4,6,8] x) { }", {})
    made = between_convolutions(nothing)
    onnx.checker.check_model(made, full_check=True)
    assert kinds(made) == ["Conv", "Conv"]
    assert [value.name for value in made.graph.input] == ["x"]


def test_weights_and_vectors_stay() -> None:
    part = onnx_model("(float[1,4] x) => (float[1,4] y) { y = Add(x, w) }", {"w": (1, 4)})
    assert between_convolutions(part) == part
