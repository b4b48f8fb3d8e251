"""What the fit of the kernel model leaves open: the files `graphopt/kernels/doubt_*.json`, and how they are made.

Parameters are fitted to workloads drawn with replacement. Residuals are of operators that their fit has not seen. What
another architecture adds is what Mali's operators show under Adreno's parameters, and the other way round: there is no
third device, so one figure stands for both.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costs import kernel_fit
from costs.operators import DEVICES, Array, Measured, held_out, read_measured, workload
from graphopt.backends.opencl.operators import Operator
from graphopt.backends.targets import load_target
from graphopt.kernels.doubt import Doubt
from graphopt.kernels.target import GpuTarget

VECTORS = 64
QUANTILES = 41
_OF_THE_DEVICE = ("launch_overhead", "dram_share", "buffer_share")  # what parameters of another vendor say nothing of
_SOURCE = "python benchmarks/cost.py --doubt, on operators that TVM's TopHub timed ({count} rows, {device})"


@dataclass(frozen=True)
class Learned:
    """A fit with what it leaves open: enough to price operators under draws."""

    target: GpuTarget
    doubt: Doubt


def shipped(calibration: Path) -> dict[str, Doubt]:
    """The content of the files, by device."""
    rows = {device: read_measured(calibration, device) for device in DEVICES}
    fits = {device: kernel_fit.fit(measured, device) for device, measured in rows.items()}
    carried = carry(rows, fits)
    found = {}
    for device, measured in rows.items():
        predicted = held_out(measured, kernel_fit.learner(measured, device))
        found[device] = doubt(measured, device, fits[device], np.log(measured.us / predicted), carried)
    return found


def doubt(
    measured: Measured, device: str, fitted: dict[str, float], residuals: Array, carried: tuple[float, float]
) -> Doubt:
    """`residuals`: ln(measured / predicted) of held-out rows, those of `measured` or others of the same device."""
    middle = residuals - np.median(residuals)
    alone = middle / concentration(measured, device, fitted)
    factors: dict[str, list[float]] = defaultdict(list)
    for seed in range(VECTORS):
        for name, value in kernel_fit.fit(_resampled(measured, seed), device, fitted).items():
            factors[name].append(float(f"{value / fitted[name]:.4g}"))
    return Doubt(
        source=_SOURCE.format(count=len(measured.us), device=device),
        factors=dict(factors),
        residuals=[float(f"{q:.3f}") for q in np.quantile(alone, np.linspace(0, 1, QUANTILES))],
        kind=round(shared(middle, kinds(measured.operators)), 3),
        carried_kind=round(carried[0], 3),
        carried_kernel=round(carried[1], 3),
        spread=math.ceil(100 * float(np.exp(np.quantile(np.abs(residuals), 0.9)))) / 100,
    )


def carry(rows: dict[str, Measured], fits: dict[str, dict[str, float]]) -> tuple[float, float]:
    """Deviations that parameters of the other vendor add: of what a kind shares, and of one operator."""
    by_kind, alone = [], []
    for device, measured in rows.items():
        target = load_target(DEVICES[device])
        kernels, group = kernel_fit.kernels_of(measured, target), kinds(measured.operators)
        away = np.log(measured.us / kernel_fit.predict(moved(fits, device), kernels, target))
        home = np.log(measured.us / kernel_fit.predict(fits[device], kernels, target))
        found = shared(away - away.mean(), group)
        by_kind.append(found**2)
        alone.append(max(0.0, float(np.var(away) - found**2 - np.var(home))))
    return float(np.sqrt(np.mean(by_kind))), float(np.sqrt(np.mean(alone)))


def moved(fits: dict[str, dict[str, float]], device: str) -> dict[str, float]:
    """The other vendor's parameters for a device, carried over as docs/costs.md says."""
    (other,) = set(fits) - {device}
    values = {**fits[other], **{name: fits[device][name] for name in _OF_THE_DEVICE if name in fits[device]}}
    values["threads_to_fill"] = fits[other]["threads_to_fill"] * _lanes(device) / _lanes(other)
    return values


def concentration(measured: Measured, device: str, fitted: dict[str, float]) -> Array:
    """Deviation of each operator where each of its kernels, by itself, has a deviation of 1: below 1, as its template
    runs several, whose errors even out.
    """
    target = load_target(DEVICES[device])
    kernels = kernel_fit.kernels_of(measured, target)
    times = kernel_fit.kernel_times(fitted, kernels, target)
    share = 1e3 * times / kernels.total(times)[kernels.owner]
    return np.asarray(np.sqrt(np.bincount(kernels.owner, share**2, kernels.count)))


def kinds(operators: tuple[Operator, ...]) -> NDArray[np.int64]:
    """The kind of each operator in its dtype, by number."""
    names = [f"{_kind(operator)} {operator.dtype}" for operator in operators]
    return np.array([sorted(set(names)).index(name) for name in names])


def shared(residuals: Array, group: NDArray[np.int64]) -> float:
    """The deviation of what residuals of one group have in common: from the products of pairs, groups counted alike."""
    parts = [residuals[group == number] for number in np.unique(group)]
    products = [(part.sum() ** 2 - (part**2).sum()) / (len(part) * (len(part) - 1)) for part in parts if len(part) > 1]
    return float(np.sqrt(max(0.0, np.mean(products))))


def _kind(operator: Operator) -> str:
    if "winograd" in operator.task:
        return "transform"
    if operator.groups > 1:
        return "depthwise"
    return "pointwise" if operator.window == (1, 1) else "conv"


def _resampled(measured: Measured, seed: int) -> Measured:
    """As many workloads, drawn with replacement; one that is drawn twice counts twice."""
    rows: dict[str, list[int]] = defaultdict(list)
    for number, operator in enumerate(measured.operators):
        rows[repr(workload(operator))].append(number)
    names = sorted(rows)
    drawn = np.random.default_rng(seed).integers(0, len(names), len(names))
    chosen = [number for name in drawn for number in rows[names[name]]]
    return Measured(tuple(measured.operators[number] for number in chosen), measured.us[chosen])


def _lanes(device: str) -> float:
    """FLOP a clock / 2, of the devices that TopHub timed (docs/costs.md)."""
    return {"adreno": 7710 / 7.4, "mali": 264 / 3.9}[device]
