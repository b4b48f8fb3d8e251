"""How often the printed interval of a ratio holds: on pairs that neither the fit nor its residuals have seen.

    python benchmarks/cost.py --coverage --json

Operators: ten folds by workload; a fold is priced by what the other nine say, and each pair of it is a ratio that was
measured. A `bundle` is the sum of several operators, as a network is one of kernels. `carried`: Mali's operators under
Adreno's parameters, and the other way round, with the doubt of a carried target. NPU: pairs of networks, both left out,
in float16, in each precision of integers, and from float16 to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from costs import kernel_doubt, kernel_fit, npu, npu_doubt, npu_int8, npu_int8_doubt
from costs.operators import DEVICES, FOLDS, Array, Measured, folds, held_out, read_measured
from graphopt.backends.opencl.operators import operator_kernels
from graphopt.backends.targets import load_target
from graphopt.kernels.doubt import Draws

BUNDLES, SIZE = 200, 8
VECTORS = 16  # fits of quantised networks for each pair; what is shipped has four times as many
CARRY = 1.45  # by what an Adreno 750's spread is larger than that of TopHub's


def operators(calibration: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """By device: the share of pairs, and of bundles, whose ratio lies within its interval, and its median width."""
    rows = {device: read_measured(calibration, device) for device in DEVICES}
    fits = {device: kernel_fit.fit(measured, device) for device, measured in rows.items()}
    carried = kernel_doubt.carry(rows, fits)
    found: dict[str, Any] = {}
    for device, measured in rows.items():
        learner = kernel_fit.learner(measured, device)
        residuals = np.log(measured.us / held_out(measured, learner))
        fold, target = folds(measured.operators), load_target(DEVICES[device])
        pairs, bundles = [], []
        for part in range(FOLDS):
            say(f"{device}: fold {part + 1} of {FOLDS}")
            known, unseen = measured.part(fold != part), measured.part(fold == part)
            fitted = kernel_fit.fit(known, device, fits[device])
            doubt = kernel_doubt.doubt(known, device, fitted, residuals[fold != part], carried)
            held = kernel_fit.with_parameters(target, fitted)
            own = replace(doubt, spread=target.kernel_model.spread.value)  # nothing is carried
            drawn = times(unseen, held, own)
            pairs += pairs_of(drawn, unseen.us)
            bundles += bundles_of(drawn, unseen.us, part)
        found[device] = {"pairs": summary(pairs), "bundles": summary(bundles)}
        found[device]["carried"] = summary(_carried(device, rows, fits, carried))
    return found


def networks(calibration: Path) -> dict[str, Any]:
    """The same of pairs of networks on the NPU: in float16. `calibration` is the CSV."""
    return {"pairs": summary(npu_doubt.pairs(npu.Rows(calibration)))}


def quantised_networks(calibration: Path, floats: Path) -> dict[str, Any]:
    """The same in each precision, and of networks in float16 beside others in it. `calibration` is the folder."""
    macs, found = npu_int8.per_gmac(calibration), {}
    for precision in npu_int8.PRECISIONS:
        rows = npu_int8.Rows(calibration, precision).apart()[0]
        found[precision] = {
            "pairs": summary(npu_int8_doubt.pairs(rows, macs, VECTORS)),
            "from_float16": summary(npu_int8_doubt.from_float(npu.Rows(floats), rows, macs, VECTORS)),
        }
    return found


def _carried(
    device: str, rows: dict[str, Measured], fits: dict[str, dict[str, float]], carried: tuple[float, float]
) -> list[tuple[bool, float]]:
    """A sample of pairs of a device's operators under the other's parameters; all rows have told of the deviations."""
    (other,) = set(rows) - {device}
    values = kernel_doubt.moved(fits, device)
    learner = kernel_fit.learner(rows[other], other)
    residuals = np.log(rows[other].us / held_out(rows[other], learner))
    doubt = kernel_doubt.doubt(rows[other], other, fits[other], residuals, carried)
    target = kernel_fit.with_parameters(load_target(DEVICES[device]), values)
    chosen = np.arange(len(rows[device].us)) % 4 == 0
    held = replace(doubt, spread=target.kernel_model.spread.value / CARRY)
    return pairs_of(times(rows[device].part(chosen), target, held), rows[device].us[chosen])


def times(measured: Measured, target: Any, doubt: Any) -> Array:
    """Milliseconds of each operator under each draw: a row an operator."""
    draws = {device.dtype: Draws(device, doubt) for device in map(target.with_precision, ("fp16", "fp32"))}
    return np.array([
        np.sum([draws[operator.dtype].times(kernel) for kernel in operator_kernels(operator, target)], axis=0)
        for operator in measured.operators
    ])  # fmt: skip


def pairs_of(drawn: Array, measured: Array) -> list[tuple[bool, float]]:
    """Whether each pair's ratio lies within the interval, and how wide that is: high / low."""
    return [_judged(drawn[i], drawn[j], measured[i] / measured[j]) for i, j in combinations(range(len(measured)), 2)]


def bundles_of(drawn: Array, measured: Array, seed: int) -> list[tuple[bool, float]]:
    random, found = np.random.default_rng(seed), []
    for _ in range(BUNDLES):
        order = random.permutation(len(measured))
        first, second = order[:SIZE], order[SIZE : 2 * SIZE]
        true = measured[first].sum() / measured[second].sum()
        found.append(_judged(drawn[first].sum(axis=0), drawn[second].sum(axis=0), true))
    return found


def summary(judged: list[tuple[bool, float]]) -> dict[str, float]:
    held, width = zip(*judged, strict=True)
    return {"coverage": float(np.mean(held)), "median_width": float(np.median(width)), "ratios": len(judged)}


def _judged(before: Array, after: Array, measured: float) -> tuple[bool, float]:
    low, high = np.quantile(before / after, (0.05, 0.95))
    return bool(low <= measured <= high), float(high / low)
