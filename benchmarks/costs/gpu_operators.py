"""How well the kernel model predicts operators whose workload its fit has not seen, beside simpler models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from costs import baselines, kernel_fit
from costs.operators import DEVICES, DTYPES, Measured, Predict, held_out, read_measured, score, workload

_BASELINES: dict[str, Callable[[Measured, str], Predict]] = {
    "macs_alone": baselines.macs_alone,
    "roofline_and_launch_by_kind": baselines.roofline,
    "previous_formula": baselines.previous,
}


def figures(calibration: Path) -> dict[str, Any]:
    """`adreno_fp16`, `adreno_fp32`, `mali_fp16`, `mali_fp32` with `median_error` (a fraction) and `spearman`;
    `baselines` alike; `factor_90_percent` and `noise` of each device.
    """
    found: dict[str, Any] = {"baselines": {name: {} for name in _BASELINES}, "factor_90_percent": {}, "noise": {}}
    for device in DEVICES:
        measured = read_measured(calibration, device)
        predicted = held_out(measured, kernel_fit.learner(measured, device))
        simple = {name: held_out(measured, _with_device(learn, device)) for name, learn in _BASELINES.items()}
        for dtype in DTYPES:
            rows, key = measured.of_dtype(dtype), f"{device}_{dtype}"
            found[key] = score(predicted[rows], measured.us[rows])
            for name, values in simple.items():
                found["baselines"][name][key] = score(values[rows], measured.us[rows])
        error = np.abs(np.log(predicted / measured.us))
        found["factor_90_percent"][device] = float(np.exp(np.quantile(error, 0.9)))
        found["noise"][device] = noise(measured)
    return found


def parameters(calibration: Path) -> dict[str, dict[str, float]]:
    """The parameters fitted to all rows, as the YAML files of `DEVICES` hold them."""
    return {device: kernel_fit.fit(read_measured(calibration, device), device) for device in DEVICES}


def noise(measured: Measured) -> dict[str, float]:
    """What no model of a workload can know.

    `dtype_ratio_spread`: the factor that holds two thirds of the ratios of float32 to float16 time of one workload
    under one template, around the median ratio. `repeats`: rows that say again what another row says, and
    `repeat_factor` the largest ratio between such.
    """
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for operator, us in zip(measured.operators, measured.us, strict=True):
        times[f"{operator.task} {workload(operator)}"][operator.dtype].append(float(us))
    logs = [np.log(np.mean(t["float32"]) / np.mean(t["float16"])) for t in times.values() if len(t) == 2]
    repeated = [max(values) / min(values) for t in times.values() for values in t.values() if len(values) > 1]
    deviation = np.abs(logs - np.median(logs))
    return {
        "dtype_ratio_spread": float(np.exp(np.quantile(deviation, 0.683))),
        "repeats": float(len(repeated)),
        "repeat_factor": max(repeated, default=1.0),
    }


def _with_device(learn: Callable[[Measured, str], Predict], device: str) -> Callable[[Measured], Predict]:
    return lambda part: learn(part, device)
