"""The command line as a whole: help, version, how quick it is, and one line for each mistake."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from graphs import Call

import graphopt

LIGHT = [["--help"], ["--version"], ["passes", "list"], ["targets", "list"], ["models", "list"]]


def graphopt_alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "graphopt", *arguments], capture_output=True, text=True, check=False)


def seconds_of(arguments: list[str]) -> float:
    """Of the processor: what else runs here does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert graphopt_alone(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_what_is_light_answers_at_once(arguments: list[str]) -> None:
    assert any(seconds_of(arguments) < 0.5 for _ in range(5))  # caches may be cold, and clocks slow


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_what_is_light_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from graphopt.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print('\\nHEAVY', sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'tvm', 'onnxruntime'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_help_names_every_command(call: Call) -> None:
    status, out, err = call("--help")
    assert (status, err) == (0, "")
    for command in (
        "run", "pretrain", "evaluate", "denoise", "cost", "leaderboard", "explain", "verify", "tune", "passes",
        "targets", "models",
    ):  # fmt: skip
        assert re.search(rf"^\W*{command}\b", out, re.MULTILINE), command
    assert call("-h") == (status, out, err)


@pytest.mark.parametrize("command", [["run"], ["passes"], ["passes", "check"]], ids=" ".join)
def test_the_short_option_helps_everywhere(command: list[str], call: Call) -> None:
    status, out, err = call(*command, "-h")
    assert (status, err) == (0, "")
    assert "Usage: " in out
    assert call(*command, "--help") == (status, out, err)


def test_the_version(call: Call) -> None:
    assert call("--version") == (0, f"graphopt {graphopt.__version__}\n", "")
    assert graphopt.__version__ == metadata.version("graphopt")


def test_no_arguments_print_the_help(call: Call) -> None:
    status, out, err = call()
    assert status == 2
    assert "Usage" in out + err


def test_a_mistake_leaves_no_trace_of_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphopt", "cost", "gone.onnx", "--target", "host-tvm"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "GRAPHOPT_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    known = "nafnet-width16, nafnet-width16-adreno750, nafnet-width16-hexagon"
    assert done.stderr.startswith(f"error: model gone.onnx does not exist; known: {known}")
    assert done.stderr.endswith("(shipped networks)\n")
    assert done.stderr.count("\n") == 1
