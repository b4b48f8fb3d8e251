"""The files that go to a phone, run here: the same kernels, by the same plan, on this machine's OpenCL device."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.backends.children import last_words, line_after, run_child
from graphopt.backends.opencl.kernels_child import FAILURE, LAUNCH
from graphopt.backends.opencl.plan import read_kernel_file
from graphopt.errors import GraphoptError

Array = NDArray[Any]
LIMIT_S = 300.0  # PoCL compiles a network of 64 kernels in 15 s, and runs 256x256 of it in 2


def run_shipped(source: Path, inputs: Sequence[Array], limit_s: float = LIMIT_S) -> list[Array]:
    """What the OpenCL file `source`, with plan and weights beside it, computes of `inputs`, in the order of the plan.

    Halves come back as float32, and are floats on a device that has none; inputs are rounded to them all the same.

    Raises:
        GraphoptError: a file is missing, other inputs than the plan's, no OpenCL platform, a file that does not
            compile, a kernel that crashes, or `limit_s` seconds are over.
    """
    plan = read_kernel_file(source).plan
    expected = [plan.tensors[name].shape for name in plan.inputs]
    if [array.shape for array in inputs] != expected:
        raise GraphoptError(f"{source.name} takes {expected}, found {[array.shape for array in inputs]}")
    with tempfile.TemporaryDirectory(prefix="graphopt-opencl-") as temporary:
        place, log = Path(temporary), Path(temporary) / "log"
        np.savez(place / "inputs.npz", *inputs)

        def too_long() -> str:
            return f"a kernel hangs, or the network is too large for this machine ({_last_launch(log)})"

        doing = f"running {source.name} on this machine's OpenCL device"
        status = run_child(
            "graphopt.backends.opencl.kernels_child", [str(source.resolve()), "inputs.npz", "outputs.npz"], place, log,
            limit_s, doing, too_long,
        )  # fmt: skip
        if status:
            raise GraphoptError(line_after(FAILURE, log) or f"{doing} failed: {last_words(log)}")
        with np.load(place / "outputs.npz") as made:
            return [made[f"arr_{i}"] for i in range(len(made.files))]


def check_library(library: Path, source: Path) -> None:
    """The library holds the very kernels of the OpenCL file: what the file computes here, the library does there.

    Raises:
        GraphoptError: a kernel is another one, or is missing.
    """
    content = library.read_bytes()
    for part in source.read_text().split("\n__kernel ")[1:]:
        if part.strip().encode() not in content:
            name = part.removeprefix("void ").partition("(")[0]
            raise GraphoptError(
                f"{library.name} does not hold kernel {name} as it is in {source.name}: the files come from different "
                "builds; deploy the network again"
            )


def _last_launch(log: Path) -> str:
    with log.open(errors="replace") as lines:
        launches = [line.strip() for line in lines if line.startswith(LAUNCH)]
    return f"the last thing it said: {launches[-1]}" if launches else "no kernel was launched"
