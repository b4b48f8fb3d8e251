"""The benchmark of precisions on a small network: its rows, its tables, and what it says of mistakes."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from graphs import nafnet
from npu import needs_compiler
from precisions import goals
from precisions.networks import Case

from graphopt.ir.canonical import to_model

Run = Callable[..., str]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "precision.py"
    spec = importlib.util.spec_from_file_location("benchmark_precision", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def run(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the benchmark on one network for the NPU: its output, or the message that it ends with."""
    onnx.save(to_model(nafnet(size=32, width=4)), tmp_path / "small.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "CASES", (Case("small.onnx", "sm8650-hexagon", "qnn"),))
    monkeypatch.setattr(goals, "ORIGINAL", "small.onnx")

    def do(*more: str) -> str:
        sizes = ["--resolution", "32", "32", "--side", "32", "--crops", "2", "--cache", "cache"]
        monkeypatch.setattr(sys, "argv", ["precision.py", *sizes, *more])
        capsys.readouterr()
        try:
            module.main()
        except SystemExit as stop:
            return str(stop.code)
        return capsys.readouterr().out

    return do


@needs_compiler
def test_the_emulator_beside_the_cpu_and_what_integers_gain(run: Run) -> None:
    found = json.loads(run("--json", "--only", "agreement", "--only", "faster"))
    rows = {row["precision"]: row for row in found["agreement"]}
    assert list(rows) == ["fp32", "fp16", "w8a16", "w8a8"]
    assert rows["fp32"]["psnr_device"] is None
    for row in (rows["fp16"], rows["w8a16"], rows["w8a8"]):
        assert row["why_not"] == ""
        assert row["difference"] == pytest.approx(row["psnr_device"] - row["psnr_cpu"], abs=1e-9)
        assert abs(row["difference"]) <= row["largest"] < 0.2
    faster, lost = found["goals"]
    assert (faster["provenance"], lost["provenance"]) == ("estimated", "measured")
    assert faster["low"] < faster["value"] < faster["high"]
    assert faster["met"] == (faster["value"] >= 5)
    assert lost["value"] == pytest.approx(rows["fp16"]["psnr_device"] - rows["w8a8"]["psnr_device"])
    lines = run("--only", "agreement").splitlines()
    assert any(line.startswith("| `small.onnx` | w8a8 | ") for line in lines)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--side", "30"), "error: --crops 2 --side 30: expected 1 or more, and a multiple of 16"),
        (("--sets", "Kodak24"), "error: --sets Kodak24: expected NAME=PATH"),
        (("--only", "regression", "--calibration", "gone"), "error: --calibration gone is no folder; give that of the"),
    ],
)
def test_mistakes_are_said_before_any_work(run: Run, more: tuple[str, ...], said: str) -> None:
    assert said in run(*more)
