"""What MNN reads wrongly as it is spelt, and rightly as it is respelt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import nafnet, onnx_model
from mnn import needs_mnn
from norm_spellings import OTHER_NORMS

from graphopt.backends.mnn.convert import convert
from graphopt.backends.mnn.spelling import respelled
from graphopt.ir.canonical import to_model

IMAGE, POINT = "float[1,4,8,6]", "float[1,4,1,1]"
POOL = "kernel_shape=[3,3], pads=[1,1,1,1]"
INSTANCE_NORM = OTHER_NORMS["instance norm in single ops"]
WRONG: dict[str, onnx.ModelProto] = {
    "a norm over the image": onnx_model(INSTANCE_NORM.text, INSTANCE_NORM.weights),
    "a sum of three": onnx_model(f"({IMAGE} x, {POINT} z) => ({IMAGE} y) {{ y = Sum(x, z, x) }}"),
    "the largest of three": onnx_model(f"({IMAGE} x, {POINT} z) => ({IMAGE} y) {{ y = Max(x, z, x) }}"),
    "the least of three": onnx_model(f"({IMAGE} x, {POINT} z) => ({IMAGE} y) {{ y = Min(x, z, x) }}"),
    "an average without strides": onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = AveragePool<{POOL}>(x) }}"),
    "a maximum without strides": onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = MaxPool<{POOL}>(x) }}"),
    "uneven parts": onnx_model(
        f"({IMAGE} x) => (float[1,4,3,6] y, float[1,4,3,6] z, float[1,4,2,6] t) "
        "{ y, z, t = Split<axis=2, num_outputs=3>(x) }"
    ),
    "cubic": onnx_model(f'({IMAGE} x) => (float[1,4,16,9] y) {{ y = Resize<mode="cubic">(x, , s) }}', {
        "s": np.array([1, 1, 2, 1.5], np.float32)}),
    "nearest, rounding up": onnx_model(
        f'({IMAGE} x) => (float[1,4,11,6] y) {{ y = Resize<mode="nearest", nearest_mode="ceil">(x, , , s) }}',
        {"s": np.array([1, 4, 11, 6])},
    ),
    "pads of some axes": onnx_model(
        f"({IMAGE} x) => (float[1,4,11,8] y) {{ y = Pad<mode='reflect'>(x, p, , a) }}".replace("'", '"'),
        {"p": np.array([1, 2, 1, 1]), "a": np.array([-1, 2])},
    ),
}  # fmt: skip


@needs_mnn
@pytest.mark.parametrize("name", WRONG)
def test_as_it_is_and_respelt(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MNN mends one of these, its rule can go."""
    assert convert(WRONG[name], "float32", tmp_path / "respelt.mnn") == ""
    monkeypatch.setattr("graphopt.backends.mnn.convert.respelled", lambda model: model)
    assert "MNN 3.6.1 " in convert(WRONG[name], "float32", tmp_path / "as_it_is.mnn")


def test_a_network_in_order_is_left_alone() -> None:
    model = to_model(nafnet())
    assert [node.op_type for node in respelled(model).graph.node] == [node.op_type for node in model.graph.node]
