"""The calibration rows: operators that TVM's TopHub timed on an Adreno and on a Mali, and how predictions are scored.

Rows of one workload (the same shapes and strides, in whatever dtype and by whatever template) are in one fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from graphopt.backends.opencl.operator_files import read_operators
from graphopt.backends.opencl.operators import Operator
from graphopt.errors import GraphoptError

Array = NDArray[np.float64]
DEVICES = {"adreno": "tophub-adreno", "mali": "rk3399-mali-t860"}
DTYPES = {"fp16": "float16", "fp32": "float32"}
FOLDS = 10
SCALE = 0.1  # of the log error, from which on a row counts as an outlier
FILE = "tophub_gpu_measured_ops.csv"


@dataclass(frozen=True)
class Measured:
    """The operators of one device and their microseconds."""

    operators: tuple[Operator, ...]
    us: Array

    def part(self, chosen: NDArray[np.bool_]) -> Measured:
        return Measured(tuple(o for o, keep in zip(self.operators, chosen, strict=True) if keep), self.us[chosen])

    def of_dtype(self, name: str) -> NDArray[np.bool_]:
        return np.array([operator.dtype == DTYPES[name] for operator in self.operators])


def read_measured(folder: Path, device: str) -> Measured:
    """The rows of one device. `folder` holds the calibration files.

    Raises:
        GraphoptError: the file is not there, or a row is not valid.
    """
    path = folder / FILE
    if not path.exists():
        raise GraphoptError(f"{path} does not exist; give the folder of the calibration files with --calibration")
    rows = [(row, operator) for row, operator in read_operators(path) if row["file"].startswith(device)]
    return Measured(tuple(operator for _, operator in rows), np.array([float(row["us"]) for row, _ in rows]))


Predict = Callable[[Measured], Array]


def robust(error: Array) -> Array:
    """Residuals whose squares are s^2 ln(1 + (e / s)^2).

    One tuning session of TopHub's Adreno file (42 rows, the layers of one detection network) took 1.4 times as long as
    all others, and no column says so: such rows must not bend the fit.
    """
    return np.asarray(np.sign(error) * SCALE * np.sqrt(np.log1p((error / SCALE) ** 2)))


def workload(operator: Operator) -> tuple[object, ...]:
    """What is computed, whatever the dtype and the template."""
    return (
        operator.batch,
        operator.channels,
        operator.height,
        operator.width,
        operator.filters,
        operator.window,
        operator.stride,
        operator.groups,
        operator.rows,
    )


def folds(operators: tuple[Operator, ...], seed: int = 0) -> NDArray[np.int64]:
    """The fold of each operator, drawn by workload."""
    keys = sorted({repr(workload(operator)) for operator in operators})
    drawn = dict(zip(keys, np.random.default_rng(seed).permutation(len(keys)) % FOLDS, strict=True))
    return np.array([drawn[repr(workload(operator))] for operator in operators])


def held_out(measured: Measured, learn: Callable[[Measured], Predict], seed: int = 0) -> Array:
    """Microseconds of every operator, predicted by what `learn` makes of the other folds."""
    fold = folds(measured.operators, seed)
    predicted = np.empty(len(measured.us))
    for part in range(FOLDS):
        predicted[fold == part] = learn(measured.part(fold != part))(measured.part(fold == part))
    return predicted


def score(predicted: Array, measured: Array) -> dict[str, float]:
    """`median_error`: of |predicted / measured - 1|, as a fraction; `spearman`: the correlation of ranks."""
    return {
        "median_error": float(np.median(np.abs(predicted / measured - 1))),
        "spearman": float(spearmanr(predicted, measured).statistic),
    }
