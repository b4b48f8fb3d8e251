"""What the tests of commands share: a network whose result is known, photographs, and what a mistake looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Call
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


@pytest.fixture
def halver(tmp_path: Path) -> Path:
    """x -> 0.5 x + 0.25, as a 1x1 convolution at 16x16."""
    weight = np.eye(3, dtype=np.float32)[:, :, None, None] * np.float32(0.5)
    shape = [1, 3, 16, 16]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.full(3, 0.25, np.float32), "b")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "half.onnx"
    )
    return tmp_path / "half.onnx"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (21, 34, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def mistake(call: Call) -> Callable[..., str]:
    """Calls a command that must fail, says that it left one line and no more, and returns the line."""

    def say(*arguments: object) -> str:
        status, out, err = call(*arguments)
        assert (status, out) == (1, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return say
