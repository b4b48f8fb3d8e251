"""Runs an artefact that was built, where this machine can: its output against that of what it was built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.backends.base import Artefact, Backend
from graphopt.errors import GraphoptError
from graphopt.ir.difference import relative_difference
from graphopt.run.exports import FP16_TOLERANCE, difference
from graphopt.run.folder import Ran

Array = NDArray[Any]
STEPS = 8  # of the output's integers: sums that are rounded elsewhere on their way differ by 3 or 4


def prove(
    backend: Backend[Any], artefact: Artefact, tried: Iterable[tuple[Array, Array]], name: Callable[[Path], str],
    step: float | None = None,
) -> Ran:  # fmt: skip
    """Runs the artefact on images (1, C, H, W), each `tried` with what onnxruntime makes of it by the network that the
    artefact was built from: model.onnx, or a quantised one, of whose output an integer is one `step`. `name` is for
    users to know a file by.

    What cannot be run is no fault of the artefact, so the reason is kept and nothing is raised. Where the device's own
    arithmetic is reproduced, a large difference is what the device will show, and is kept as well.

    Raises:
        GraphoptError: it computes something else than that network.
    """
    file = name(backend.file_run(artefact))
    if not backend.runs_here:
        return Ran(file, "", None, f"not run here: {backend.elsewhere}")
    worst, most = 0.0, None if step is None else 0.0
    for image, expected in tried:
        try:
            made = backend.run(artefact, [image.astype(artefact.manifest["inputs"][0]["dtype"])])[0]
        except GraphoptError as error:
            return Ran(file, backend.runs_on, None, f"not run here: {error}")
        off, where = relative_difference(made, expected), f"{file}, at {image.shape[2]}x{image.shape[3]},"
        if step is not None:
            steps = float(np.abs(made - expected).max()) / step
            if not backend.own_arithmetic and not steps <= STEPS:
                raise GraphoptError(
                    f"{where} differs from the quantised network by {steps:.3g} steps of its output (allowed {STEPS})"
                )
            most = max(most or 0.0, steps)
        elif not backend.own_arithmetic:
            tolerance = backend.tolerance if backend.target.dtype == "float32" else FP16_TOLERANCE
            off = difference(made, expected, tolerance, where)
        if not np.isfinite(off):
            words = f"its output is not finite: values that {backend.own_arithmetic} cannot hold"
            return Ran(file, backend.runs_on, None, words)
        worst = max(worst, off)
    return Ran(file, backend.runs_on, worst, "", most)
