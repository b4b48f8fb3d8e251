"""Compiles networks for a Hexagon NPU with onnxruntime-qnn, each in a child process with a time limit."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import onnx

from graphopt.atomic import replacing
from graphopt.backends.qnn.child import FAILURE
from graphopt.backends.qnn.log import CompiledFacts, parse_log
from graphopt.backends.qnn.target import NpuCompiler, NpuTarget
from graphopt.errors import GraphoptError

COMPILER = "2.7.0"  # of onnxruntime-qnn: what the log looks like, and what the regression was calibrated on
_INSTALL = "pip install 'graphopt[qnn]'"


def compiler_version(target: NpuTarget) -> str:
    """The versions of onnxruntime-qnn and onnxruntime, part of the key of every price.

    Raises:
        GraphoptError: onnxruntime-qnn is not installed, or not the version whose log is understood.
    """
    try:
        found = metadata.version("onnxruntime-qnn")
    except metadata.PackageNotFoundError as error:
        raise GraphoptError(
            f"target {target.name} needs Qualcomm's offline compiler, which is not installed: {_INSTALL}"
        ) from error
    if found != COMPILER:
        raise GraphoptError(
            f"target {target.name} needs onnxruntime-qnn {COMPILER}, found {found}: its log may differ; {_INSTALL}"
        )
    return f"{found}/{metadata.version('onnxruntime')}"


def compile_npu(
    model: onnx.ModelProto, target: NpuTarget, folder: Path | None = None
) -> tuple[CompiledFacts, list[Path]]:
    """What the compiler says of `model` and, with `folder`, the files for the phone: `<target>.onnx`, a graph with one
    node, and beside it the context binary that the node names.

    Without `folder`, ops that the NPU refuses are named in the facts. No file is written for a network with such ops:
    there is no binary of a part.

    Raises:
        GraphoptError: onnxruntime-qnn is not installed; the compiler refuses the network, crashes, runs past the
            target's time limit, or writes a log that is not understood.
    """
    compiler_version(target)
    name = f"network '{model.graph.name}'" if model.graph.name else "the network"
    with tempfile.TemporaryDirectory(prefix="graphopt-npu-") as temporary:
        place = Path(temporary)
        onnx.save(model, place / "model.onnx")
        context = f"{target.name}.onnx" if folder is not None else None
        log = place / "log"
        status = _run_child(place, context, target.npu_compiler, log, f"target {target.name}: compiling {name}")
        with log.open(errors="replace") as lines:
            facts = parse_log(lines)
        if status or facts is None:
            reason = _reason(log) or f"its log is not that of onnxruntime-qnn {COMPILER}"
            raise GraphoptError(f"target {target.name}: the NPU's compiler refuses {name}: {reason}")
        return facts, [] if folder is None else _keep(place, target.name, folder)


def _run_child(place: Path, context: str | None, options: NpuCompiler, log: Path, doing: str) -> int:
    command = [sys.executable, "-m", "graphopt.backends.qnn.child", "model.onnx"]
    command += [str(options.soc_model), str(options.htp_arch), *([context] if context else [])]
    with log.open("wb") as stream:
        try:
            done = subprocess.run(
                command, cwd=place, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                timeout=options.time_limit_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise GraphoptError(
                f"{doing} took longer than {options.time_limit_s:g} s; raise 'time_limit_s' in the target's YAML, "
                f"or price at a smaller resolution"
            ) from error
    if done.returncode < 0:
        killed = signal.Signals(-done.returncode).name
        raise GraphoptError(f"{doing} ended the compiler's process with {killed}: {_last_words(log)}")
    return done.returncode


def _reason(log: Path) -> str | None:
    with log.open(errors="replace") as lines:
        return next((line.removeprefix(FAILURE).strip()[:300] for line in lines if line.startswith(FAILURE)), None)


def _last_words(log: Path) -> str:
    with log.open(errors="replace") as lines:
        words = [line.strip() for line in lines if line.strip()]
    return f"last line of its log: {words[-1][:200]}" if words else "it wrote no log"


def _keep(place: Path, stem: str, folder: Path) -> list[Path]:
    """Moves the context to `folder`; its ONNX file names the binary, so that the names stay."""
    made = sorted(path for path in place.iterdir() if path.name.startswith(stem))
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        with replacing(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
    return [folder / path.name for path in made]
