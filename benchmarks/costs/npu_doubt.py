"""What the fit of the NPU's regression leaves open: the file `graphopt/backends/qnn/doubt.json`, and its coverage."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from costs import npu
from costs.npu import Array
from graphopt.backends.qnn.doubt import Doubt, drawn_times
from graphopt.backends.qnn.regression import Features
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.targets import load_target

VECTORS = 64
_NAMES = ("launch", "per_gmac", "per_megabyte", "per_supertile")
_SOURCE = (
    "python benchmarks/cost.py --doubt, on {count} networks that AI Hub timed on a Galaxy S24 (qai-hub-models 0.65.0)"
)


def doubt(rows: npu.Rows, known: Array) -> tuple[Doubt, NpuTarget]:
    """`known`: numbers of the rows that may be seen. The doubt, and the target with the parameters that it is about."""
    matrices = rows.matrices(npu.FORM)
    found, exponent = _fit(matrices, rows.measured, known)
    factors: dict[str, list[float]] = {name: [] for name in _NAMES}
    exponents = []
    for seed in range(VECTORS):
        drawn = np.random.default_rng(seed).integers(0, len(known), len(known))
        values, power = _fit(matrices, rows.measured, known[drawn])
        exponents.append(round(power - exponent, 2))
        for name, value, middle in zip(_NAMES, values, found, strict=True):
            factors[name].append(float(f"{value / max(middle, 1e-9):.4g}"))
    left_out = []
    for row in known:
        values, power = _fit(matrices, rows.measured, known[known != row])
        left_out.append(np.log(rows.measured[row] / (matrices[npu.EXPONENTS.index(power)][row] @ values)))
    residuals = [float(f"{value:.3f}") for value in left_out]
    made = Doubt(_SOURCE.format(count=len(known)), factors, exponents, residuals)
    return made, _with_parameters({**dict(zip(_NAMES, found.tolist(), strict=True)), "supertile_exponent": exponent})


def shipped(calibration: Path) -> Doubt:
    rows = npu.Rows(calibration)
    return doubt(rows, np.arange(len(rows.names)))[0]


def pairs(rows: npu.Rows) -> list[tuple[bool, float]]:
    """Of each pair of networks, both left out: whether its ratio lies within its interval, and high / low of that."""
    everything, found = np.arange(len(rows.names)), []
    for first, second in combinations(range(len(rows.names)), 2):
        known, target = doubt(rows, everything[(everything != first) & (everything != second)])
        times = [drawn_times(features(rows, row), target, known) for row in (first, second)]
        low, high = np.quantile(times[0] / times[1], (0.05, 0.95))
        found.append((bool(low <= rows.measured[first] / rows.measured[second] <= high), float(high / low)))
    return found


def features(rows: npu.Rows, row: int) -> Features:
    value = {name: float(column[row]) for name, column in rows.features.items()}
    return Features(1, value["padded_gmac"], value["megabytes"], 0.0, value["supertiles"])


def _fit(matrices: list[Array], measured: Array, rows: Any) -> tuple[Array, float]:
    found, best = npu.fit([matrix[rows] for matrix in matrices], measured[rows], np.ones(len(rows), dtype=bool))
    return found, npu.EXPONENTS[best]


def _with_parameters(values: dict[str, float]) -> NpuTarget:
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    model = target.npu_model
    changed = {name: getattr(model, name).model_copy(update={"value": value}) for name, value in values.items()}
    beyond = model.calibrated_supertiles.model_copy(update={"value": 1e9})  # every network here is one of those
    return target.model_copy(
        update={"npu_model": model.model_copy(update={**changed, "calibrated_supertiles": beyond})}
    )
