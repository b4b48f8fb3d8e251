"""Qualcomm's own emulator of the NPU runs the context binary that a phone loads: its numbers, not its speed."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.backends.children import last_words, line_after, run_child
from graphopt.backends.outputs import kept_outputs
from graphopt.backends.qnn.compiler import compiler_version
from graphopt.backends.qnn.emulator_child import FAILURE
from graphopt.backends.qnn.target import NpuTarget
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError

Array = NDArray[Any]
_TOO_LONG = (
    "the emulator's time grows with the image (256x256 of a 36-block NAFNet: a minute); raise 'emulator_limit_s' in "
    "the target's YAML, or deploy at a smaller resolution"
)


def why_no_emulator(target: NpuTarget) -> str:
    """What is missing before a context binary can run here; empty where nothing is."""
    try:
        compiler_version(target)
    except GraphoptError as error:
        return str(error)
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return f"Qualcomm's emulator of the NPU is for x86_64 Linux, and this is {system} on {machine}"
    return ""


def emulate(files: Sequence[Path], inputs: Sequence[Array], target: NpuTarget, cache: CostCache) -> list[Array]:
    """What the artefact, its ONNX file first, computes of `inputs` on the emulated NPU. What it has computed before is
    kept in `cache`, by the content of files and inputs.

    Raises:
        GraphoptError: a file is missing, or the emulator refuses the artefact, crashes, or takes longer than
            `emulator_limit_s` of the target.
    """
    for path in files:
        if not path.is_file():
            raise GraphoptError(f"target {target.name}: {path} is missing; deploy the network again")

    def compute() -> list[Array]:
        return _compute(files[0], inputs, target)

    return kept_outputs(cache, compiler_version(target), files, inputs, compute)


def _compute(artefact: Path, inputs: Sequence[Array], target: NpuTarget) -> list[Array]:
    with tempfile.TemporaryDirectory(prefix="graphopt-npu-") as temporary:
        place, log = Path(temporary), Path(temporary) / "log"
        np.savez(place / "inputs.npz", *inputs)
        doing = f"target {target.name}: running {artefact.name} on the emulated NPU"
        status = run_child(
            "graphopt.backends.qnn.emulator_child", [str(artefact.resolve()), "inputs.npz", "outputs.npz"], place, log,
            target.npu_compiler.emulator_limit_s, doing, lambda: _TOO_LONG,
        )  # fmt: skip
        if status:
            raise GraphoptError(f"{doing} failed: {line_after(FAILURE, log) or last_words(log)}")
        with np.load(place / "outputs.npz") as made:
            return [made[f"arr_{i}"] for i in range(len(made.files))]
