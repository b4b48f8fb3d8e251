"""Runs an artefact that was built, where this machine can: its output against that of model.onnx."""

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


def prove(
    backend: Backend[Any], artefact: Artefact, tried: Iterable[tuple[Array, Array]], name: Callable[[Path], str]
) -> Ran:
    """Runs the artefact on images (1, C, H, W), each `tried` with what model.onnx gives for it. `name` is for users to
    know a file by.

    What cannot be run is no fault of the artefact, so the reason is kept and nothing is raised. Where the device's own
    arithmetic is reproduced, a large difference is what the device will show, and is kept as well.

    Raises:
        GraphoptError: it computes something else than model.onnx.
    """
    file = name(backend.file_run(artefact))
    if not backend.runs_here:
        return Ran(file, "", None, f"not run here: {backend.elsewhere}")
    worst = 0.0
    for image, expected in tried:
        try:
            made = backend.run(artefact, [image.astype(artefact.manifest["inputs"][0]["dtype"])])[0]
        except GraphoptError as error:
            return Ran(file, backend.runs_on, None, f"not run here: {error}")
        if backend.own_arithmetic:
            off = relative_difference(made, expected)
        else:
            tolerance = backend.tolerance if backend.target.dtype == "float32" else FP16_TOLERANCE
            off = difference(made, expected, tolerance, f"{file}, at {image.shape[2]}x{image.shape[3]},")
        if not np.isfinite(off):
            words = f"its output is not finite: values that {backend.own_arithmetic} cannot hold"
            return Ran(file, backend.runs_on, None, words)
        worst = max(worst, off)
    return Ran(file, backend.runs_on, worst, "")
