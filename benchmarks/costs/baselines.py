"""What simpler models make of the same rows, with the same folds and the same loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from costs.operators import DEVICES, Array, Measured, Predict, robust
from graphopt.backends.targets import load_target

_KINDS = ("conv", "pointwise", "depthwise", "dense", "winograd")


def macs_alone(part: Measured, device: str) -> Predict:
    """us = a(dtype) x MACs, with the median of the known rows."""
    half = part.of_dtype("fp16")
    rates = [float(np.median((part.us / _macs(part))[half == dtype])) for dtype in (False, True)]
    return lambda unseen: np.where(unseen.of_dtype("fp16"), rates[1], rates[0]) * _macs(unseen)


def roofline(part: Measured, device: str) -> Predict:
    """us = launch(kind) + max(MACs / rate(kind, dtype), bytes / bandwidth), kinds as TopHub's templates name them."""
    kinds = len(_KINDS)

    def model(point: Array, rows: Measured) -> Array:
        launch, rate = np.exp(point[:kinds]), np.exp(point[kinds : 3 * kinds].reshape(2, kinds))
        kind = _kind(rows)
        busy = np.maximum(_macs(rows) / rate[rows.of_dtype("fp16").astype(int), kind], _bytes(rows) / np.exp(point[-1]))
        return np.asarray(launch[kind] + busy)

    peak = load_target(DEVICES[device]).fact("fp32_peak") * 1e3 / 2
    start = np.log(np.concatenate([np.full(kinds, 20.0), np.full(2 * kinds, 0.2 * peak), [1e4]]))
    return _learned(model, start, part)


def previous(part: Measured, device: str) -> Predict:
    """The formula before this one: three efficiencies, a loss at short reductions, and occupancy by outputs:
    us = launch + max(MACs / rate, bytes / bandwidth) / min(1, outputs / fill).
    """
    target = load_target(DEVICES[device])
    peaks = target.fact("fp32_peak"), target.fact("fp16_peak")

    def model(point: Array, rows: Measured) -> Array:
        efficiency, (reuse, launch, bandwidth, fill) = np.exp(point[:3]), np.exp(point[3:])
        peak = np.where(rows.of_dtype("fp16"), peaks[1], peaks[0]) * 1e3 / 2
        kind = np.array([0, 1, 2, 1, 0])[_kind(rows)]
        reduction = np.array([operator.reduction for operator in rows.operators], dtype=float)
        outputs = np.array([operator.outputs for operator in rows.operators], dtype=float)
        rate = peak * efficiency[kind] * reduction / (reduction + reuse)
        busy = np.maximum(_macs(rows) / rate, _bytes(rows) / bandwidth)
        return np.asarray(launch + busy / np.minimum(1, outputs / fill))

    return _learned(model, np.log([0.2, 0.2, 0.05, 8.0, 20.0, 1e4, 1000.0]), part)


def _learned(model: object, start: Array, part: Measured) -> Predict:
    assert callable(model)

    def residuals(point: Array) -> Array:
        return np.concatenate([robust(np.log(model(point, part) / part.us)), 0.015 * (point - start)])

    best = least_squares(residuals, start, max_nfev=60).x
    return lambda unseen: np.asarray(model(best, unseen))


def _macs(rows: Measured) -> Array:
    return np.array([operator.outputs * operator.reduction for operator in rows.operators], dtype=float)


def _bytes(rows: Measured) -> Array:
    size = np.where(rows.of_dtype("fp16"), 2, 4)
    return np.array([o.inputs + o.weights + o.outputs for o in rows.operators], dtype=float) * size


def _kind(rows: Measured) -> NDArray[np.int64]:
    names = []
    for operator in rows.operators:
        if "winograd" in operator.task or operator.family == "dense":
            names.append("winograd" if "winograd" in operator.task else "dense")
        elif operator.groups > 1:
            names.append("depthwise")
        else:
            names.append("pointwise" if operator.window == (1, 1) else "conv")
    return np.array([_KINDS.index(name) for name in names])
