"""How sessions are opened."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from graphs import onnx_model

from graphopt.backends.onnxruntime.session import open_session
from graphopt.errors import GraphoptError

MODEL = onnx_model("(float[1,2,8,8] x) => (float[1,2,8,8] y) { a = Relu(x) y = Relu(a) }", {})


def test_threads_and_memory_are_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(MODEL, path)
    options = open_session(path, 2, tmp_path / "made.onnx").get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert (options.enable_cpu_mem_arena, options.enable_mem_pattern) == (True, False)
    assert (tmp_path / "made.onnx").exists()


def test_what_it_does_not_accept_is_said(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="^onnxruntime does not accept the network: .*gone.onnx"):
        open_session(tmp_path / "gone.onnx", 1)
