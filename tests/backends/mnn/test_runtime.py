"""MNN in this process: results that stay, and a stdout that is the caller's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from graphs import onnx_model
from mnn import mnn_backend, needs_mnn

SCALED = onnx_model("(float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Add(x, x) }")


@needs_mnn
def test_a_result_is_not_written_over(tmp_path: Path) -> None:
    backend = mnn_backend(tmp_path)
    loaded = backend.load(backend.build(SCALED, tmp_path))
    first = loaded([np.ones((1, 2, 4, 4), np.float32)])[0]
    assert (loaded([np.zeros((1, 2, 4, 4), np.float32)])[0] == 0).all()
    assert (first == 2).all()


@needs_mnn
def test_nothing_is_written_to_stdout(tmp_path: Path) -> None:
    """MNN greets from C; `graphopt cost --json` must stay JSON, in order with what is printed before."""
    (path,) = mnn_backend(tmp_path).build(SCALED, tmp_path).files
    code = f"""
import numpy as np
from pathlib import Path
from graphopt.backends.mnn.runtime import load
print("before")
run = load(Path({str(path)!r}), ["x"], ["y"], 1, False)
print(run([np.ones((1, 2, 4, 4), np.float32)])[0].sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "before\n64.0\n"
