"""The script that boards run: on its own, on an old Python, on the fast cores."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundled import one_operator

from graphopt.devices import on_board

SCRIPT = Path(on_board.__file__)


def run(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """As a board runs it: another process, away from graphopt."""
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_python_3_7_reads_it() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 7))


def test_it_needs_nothing_of_graphopt() -> None:
    assert "graphopt" not in {
        part.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for part in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }


def test_a_probe_says_what_there_is() -> None:
    import onnxruntime

    status, (answer,) = run("probe", "onnx")
    assert status == 0
    assert answer["found"]["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    assert answer["found"]["free"] > 0


def test_a_run_gives_its_single_times(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(one_operator((1, 3, 8, 8)))
    inputs = json.dumps([["image", [1, 3, 8, 8], "float32"]])
    status, lines = run("run", "onnx", str(tmp_path / "mine.onnx"), inputs, "7", "1", "60")
    assert status == 0
    found = lines[-1]["found"]
    assert len(found["times_ms"]) == 7
    assert all(0 < one < 100 for one in found["times_ms"])
    assert [set(line) for line in lines[:-1]] == [{"said", "share"}] * (len(lines) - 1)


def test_memory_is_what_the_network_takes(tmp_path: Path) -> None:
    """An image of 48 MiB and the one that is made of it, nothing of the runtime's own 50 MiB."""
    side = 2048
    (tmp_path / "big.onnx").write_bytes(one_operator((1, 3, side, side)))
    inputs = json.dumps([["image", [1, 3, side, side], "float32"]])
    _, lines = run("run", "onnx", str(tmp_path / "big.onnx"), inputs, "5", "1", "60")
    image = 3 * side * side * 4
    assert 1.9 * image < lines[-1]["found"]["memory"] < 2.2 * image


def test_the_fastest_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four small cores with the low numbers, two big ones after them; one more that may not be used."""
    for core, capacity in enumerate((400, 400, 400, 400, 1024, 1024, 2048)):
        (tmp_path / f"cpu{core}").mkdir()
        (tmp_path / f"cpu{core}" / "cpu_capacity").write_text(f"{capacity}\n")
    monkeypatch.setattr(on_board, "CORES", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4, 5})
    assert on_board.fastest_cores(3) == [4, 5, 0]


def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(one_operator((1, 3, 8, 8)))
    inputs = json.dumps([["image", [1, 3, 8, 8], "float32"]])
    command = [
        sys.executable,
        "-I",
        str(SCRIPT),
        "run",
        "onnx",
        str(tmp_path / "mine.onnx"),
        inputs,
        "1000000000",
        "1",
        "60",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 4
        assert process.stderr.read() == b""


@pytest.mark.parametrize("form", ["tflite", "mnn"])
def test_a_runtime_that_is_not_there(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in on_board.RUNTIMES[form][0]:
        monkeypatch.setitem(sys.modules, package, None)
    assert on_board.main("probe", form) == 3
    said = json.loads(capsys.readouterr().out)["missing"]
    assert said.endswith(on_board.RUNTIMES[form][1])
