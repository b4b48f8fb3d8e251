"""The benchmark of runtimes on small networks: its rows, its table, what it reaches, and that it goes on."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from graphs import nafnet
from mnn import needs_mnn

from graphopt.cost.cache import CostCache
from graphopt.ir.canonical import to_model

Run = Callable[..., str]
NETWORKS = ("first=large.onnx", "second=small.onnx")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "runtimes.py"
    spec = importlib.util.spec_from_file_location("benchmark_runtimes", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look up postponed annotations there
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtimes")
    onnx.save(to_model(nafnet(size=64, width=16)), folder / "large.onnx")
    onnx.save(to_model(nafnet(size=64, width=4)), folder / "small.onnx")
    return folder


@pytest.fixture
def run(module: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the benchmark: its output, or the message that it ends with."""

    def do(*more: str) -> str:
        monkeypatch.chdir(home)
        sizes = ["--resolution", "64", "64", "--untimed", "32", "32", "--cache", "cache"]
        monkeypatch.setattr(sys, "argv", ["runtimes.py", "--networks", *NETWORKS, *sizes, *more])
        capsys.readouterr()
        try:
            module.main()
        except SystemExit as stop:
            return str(stop.code)
        return capsys.readouterr().out

    return do


@needs_mnn
def test_rows_and_table(run: Run, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    targets = ("--targets", "host-mnn", "android-mnn")
    found = json.loads(run("--json", *targets))
    rows = {(row["target"], row["network"]): row for row in found["rows"]}
    assert list(rows) == [(t, n) for t in ("host-mnn", "android-mnn") for n in ("first", "second")]
    first, second = rows["host-mnn", "first"], rows["host-mnn", "second"]
    assert (first["ratio"], second["ratio"]["provenance"]) == (None, "measured")
    assert second["ratio"]["low"] > 1
    assert 0 < second["low_ms"] <= second["ms"] <= second["high_ms"]
    assert first["size"] == [64, 64]
    assert first["difference_db"] > 50  # random weights give values far beyond 1
    phone = rows["android-mnn", "first"]
    assert (phone["ms"], phone["ratio"], phone["size"]) == (None, None, [32, 32])
    assert phone["difference_db"] < first["difference_db"] - 20
    assert 0.5 < phone["file_bytes"] / first["file_bytes"] < 0.7
    monkeypatch.setattr(module, "checked", None)  # what is known is not found anew
    lines = run("--markdown", *targets).splitlines()
    ratio = second["ratio"]
    assert f"| {ratio['value']:.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f}) |" in lines[3]
    assert f"| {second['ms']:.4g} |" in lines[3]
    assert lines[4].startswith("| `android-mnn` | `first` |  |  | ")
    assert lines[4].endswith(" | measured at 32x32, not timed: the device is another one |")


def test_what_is_in_reach(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without names: whatever runs here and is installed; a phone is not, and the reason is there."""
    version = metadata.version

    def without_mnn(name: str) -> str:
        if name == "MNN":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("graphopt.backends.mnn.convert.metadata.version", without_mnn)
    places, others = module.reached([], CostCache(tmp_path))
    kinds = {place.backend.kind for place in places if place.timed}
    assert "llvm" in kinds
    assert "mnn" not in kinds
    assert others["host-mnn"].endswith("pip install 'graphopt[mnn]'")
    untimed = [place.backend.kind for place in places if not place.timed]
    assert len(untimed) == len(set(untimed))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--targets", "host-mmn"), "error: target 'host-mmn' is not known; did you mean 'host-mnn'?"),
        (("--targets", "android-onnxruntime"), "error: no runtime of these is in reach of this machine"),
        (("--networks", "a=gone.onnx"), "error: model gone.onnx does not exist"),
        (("--resolution", "4096", "64"), "error: --resolution 4096 64: the photograph has"),
    ],
)
def test_mistakes_are_said_in_one_message(run: Run, more: tuple[str, ...], message: str) -> None:
    found: Any = run("--json", *more)
    assert message in found
    assert "\n" not in found
