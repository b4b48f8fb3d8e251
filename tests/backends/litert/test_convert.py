"""The process that converts: what it may not do, in words, and what is kept."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
from graphs import onnx_model
from tflite import litert_target

from graphopt.backends.litert.convert import convert
from graphopt.config.precision import FLOATS, Precision
from graphopt.errors import GraphoptError
from graphopt.progress import silent

PYTHON = sys.executable
MODEL = onnx_model("(float[1,2,8,8] x) => (float[1,2,8,8] y) { y = Relu(x) }", {})


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = metadata.version, {"ai-edge-litert": "2.3.0", "litert-torch": "0.10.0"}
    monkeypatch.setattr(metadata, "version", lambda name: tried.get(name) or real(name))


def _child(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """Another program in the place of the converter's process."""
    program = folder / "python"
    program.write_text(f"#!{PYTHON}\nimport json, sys\nrequest = json.load(open(sys.argv[-1]))\n{lines}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


WRITES = "open(request['output'], 'wb').write(b'a model'); json.dump({'difference': %s}, open(request['result'], 'w'))"


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-4), ("fp16", 1e-2)])
def test_a_file_that_computes_something_else_is_not_kept(
    precision: Precision, most: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _child(tmp_path, monkeypatch, WRITES % (1.1 * most))
    with pytest.raises(
        GraphoptError, match=rf"differs by {1.1 * most:.2e} relative from the network \(allowed {most:g}"
    ):
        convert(MODEL, litert_target(precision=precision), tmp_path / "cache", silent)
    assert list((tmp_path / "cache" / "litert").iterdir()) == []
    _child(tmp_path, monkeypatch, WRITES % (0.9 * most))
    assert convert(MODEL, litert_target(precision=precision), tmp_path / "cache", silent).read_bytes() == b"a model"


def test_integers_may_be_some_steps_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "(float[1,2,8,8] x) => (float[1,2,8,8] y) { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"
    model = onnx_model(text, {"s": 0.1})
    _child(tmp_path, monkeypatch, WRITES % 0.021)
    with pytest.raises(GraphoptError, match=r"differs by 2.10e-02 relative from the network \(allowed 0.02"):
        convert(model, litert_target(), tmp_path / "cache", silent)
    _child(tmp_path, monkeypatch, WRITES % 0.019)
    assert convert(model, litert_target(), tmp_path / "cache", silent).exists()


def test_a_difference_that_is_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _child(tmp_path, monkeypatch, WRITES % "float('nan')")
    with pytest.raises(GraphoptError, match="differs by nan relative"):
        convert(MODEL, litert_target(), tmp_path, silent)


def test_a_converter_that_crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _child(tmp_path, monkeypatch, "sys.exit('Traceback\\nlegalising aten.strange failed')")
    with pytest.raises(
        GraphoptError, match="target host-litert: converting failed: last line of its log: legalising aten.strange fail"
    ):
        convert(MODEL, litert_target(), tmp_path, silent)


def test_a_converter_that_never_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _child(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr("graphopt.backends.litert.convert._TIME_LIMIT_S", 0.2)
    with pytest.raises(GraphoptError, match=r"target host-litert: converting took longer than 0\.2 s"):
        convert(MODEL, litert_target(), tmp_path, silent)


def test_what_is_kept_goes_by_weights_and_precision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _child(tmp_path, monkeypatch, WRITES % 0)
    text = "(float[1,2,8,8] x) => (float[1,2,8,8] y) { y = Conv(x, w) }"
    models = [onnx_model(text, {"w": (2, 2, 1, 1)}, seed) for seed in (0, 1)]
    kept = {convert(model, litert_target(precision=t), tmp_path, silent) for model in models for t in FLOATS}
    assert len(kept) == 4
    monkeypatch.setattr(sys, "executable", "gone")
    assert convert(models[1], litert_target(title="Another"), tmp_path, silent) in kept
