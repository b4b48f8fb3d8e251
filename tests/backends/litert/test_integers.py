"""QDQ nodes as the converter's operators: what they compute, against onnxruntime's, and what LiteRT does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from graphs import onnx_model, random_image, run

from graphopt.backends.litert.integers import integer_module
from graphopt.backends.litert.network import ConvertedNetwork
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph

# 127.5 steps and more are cut off; an image's reader and the sum read the same integers
TEXT = """(float[1,2,6,4] x) => (float[1,2,6,4] y) {
    q = QuantizeLinear(x, step, zero)
    d = DequantizeLinear(q, step, zero)
    k = DequantizeLinear<axis=0>(w, steps, zeros)
    b = DequantizeLinear(bias, bias_step)
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(d, k, b)
    y = Add(c, d)
}"""
WEIGHTS: dict[str, Any] = {
    "step": 0.013, "zero": np.uint8(131), "steps": np.array([0.01, 0.003], np.float32), "zeros": np.zeros(2, np.int8),
    "w": np.random.default_rng(0).integers(-127, 128, (2, 2, 3, 3), np.int8), "bias": np.array([40, -9], np.int32),
    "bias_step": 0.002,
}  # fmt: skip


def qdq(**changed: Any) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx_model(TEXT, {**WEIGHTS, **changed}, opset=21))


def converted(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        made = ConvertedNetwork(to_graph(model))(torch.from_numpy(image).permute(0, 2, 3, 1))
    return np.asarray(made.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"zero": np.int8(3)},
        {"zero": np.int16(0), "step": 1e-4},
        {"zero": np.uint16(32768), "step": 1e-4},
        {"w": np.full((2, 2, 3, 3), -128, np.int8)},
    ],
)
def test_it_computes_what_onnxruntime_does(changed: dict[str, Any]) -> None:
    model, image = qdq(**changed), 2 * random_image(1, 2, 6, 4)
    np.testing.assert_allclose(converted(model, image), run(model, image), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"zeros": np.array([0, 5], np.int8)}, "has weights with a zero point; LiteRT's have none: quantise for"),
        ({"zero": np.uint16(5)}, "has a zero point of 5 in 16 bits; LiteRT has none there"),
        ({"zero": np.int32(0)}, "has activations as int32; LiteRT has int8 with one scale"),
    ],
)
def test_integers_that_litert_does_not_have(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphoptError, match=said):
        ConvertedNetwork(to_graph(onnx_model(TEXT, {**WEIGHTS, **changed}, opset=21)))


def test_other_nodes_are_no_concern_of_it() -> None:
    assert integer_module(to_graph(qdq()).nodes[-1]) is None
