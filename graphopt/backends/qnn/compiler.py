"""Compiles networks for a Hexagon NPU with onnxruntime-qnn, each in a child process with a time limit."""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import onnx

from graphopt.atomic import replacing
from graphopt.backends.children import line_after, run_child
from graphopt.backends.qnn.child import FAILURE
from graphopt.backends.qnn.log import CompiledFacts, parse_log
from graphopt.backends.qnn.target import NpuTarget
from graphopt.errors import GraphoptError

COMPILER = "2.7.0"  # of onnxruntime-qnn: what the log looks like, and what the regression was calibrated on
_INSTALL = "pip install 'graphopt[qnn]'"
_TOO_LONG = "raise 'time_limit_s' in the target's YAML, or price at a smaller resolution"


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
        chip = [str(target.npu_compiler.soc_model), str(target.npu_compiler.htp_arch)]
        status = run_child(
            "graphopt.backends.qnn.child", ["model.onnx", *chip, *([context] if context else [])], place, log,
            target.npu_compiler.time_limit_s, f"target {target.name}: compiling {name}", lambda: _TOO_LONG,
        )  # fmt: skip
        with log.open(errors="replace") as lines:
            facts = parse_log(lines)
        if status or facts is None:
            reason = line_after(FAILURE, log) or f"its log is not that of onnxruntime-qnn {COMPILER}"
            raise GraphoptError(f"target {target.name}: the NPU's compiler refuses {name}: {reason}")
        return facts, [] if folder is None else _keep(place, target.name, folder)


def _keep(place: Path, stem: str, folder: Path) -> list[Path]:
    """Moves the context to `folder`; its ONNX file names the binary, so that the names stay."""
    made = sorted(path for path in place.iterdir() if path.name.startswith(stem))
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        with replacing(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
    return [folder / path.name for path in made]
