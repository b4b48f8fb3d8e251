"""The process that converts: it calls the converter alone, not the command that reports to MNN's makers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from graphs import onnx_model
from mnn import needs_mnn

CODE = """
import sys
from graphopt.backends.mnn.child import main
status = main("m.onnx", "m.mnn", "i.npz", "r.npz", "float32", '["x"]', '["y"]')
said = [name for name in sys.modules if name.startswith(("MNN.tools", "aliyun", "urllib.request", "onnx"))]
print(status, said, file=sys.stderr)
"""


@needs_mnn
def test_nothing_is_installed_or_sent(tmp_path: Path) -> None:
    onnx.save(onnx_model("(float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Relu(x) }"), tmp_path / "m.onnx")
    image = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)
    np.savez(tmp_path / "i.npz", image)
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"
    with np.load(tmp_path / "r.npz") as made:
        assert (made["arr_0"] == np.maximum(image, 0)).all()
