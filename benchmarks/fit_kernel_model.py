"""Fits the kernel model's parameters to operators measured on phones (TVM TopHub, as a CSV) and prints them as JSON.

    python benchmarks/fit_kernel_model.py tophub_gpu_measured_ops.csv

Columns used: file, task, dtype, N, C, H, W, K, R, S, stride_h, groups, macs, us. Winograd rows are left out: they do
fewer multiplications than their MACs say. The formula is that of `graphopt.cost.kernel_model.price`; the loss is the
mean absolute log error. `held_out` is the median error on the half of the rows that a fit did not see.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

# GFLOPS in fp32 and fp16, GB/s. The Adreno is not named; its dense rows stream weights at 49 GB/s, which says LPDDR5 at
# 51.2 GB/s, hence a 660 or 730: 1.7 TFLOPS is assumed. T860 MP4 at 800 MHz: 34 FLOP a clock a core.
DEVICES = {"adreno": (1700.0, 3400.0, 51.2), "mali": (109.0, 218.0, 12.8)}
KINDS = ("conv", "pointwise", "depthwise")
NAMES = (*KINDS, "reuse", "launch_us", "dram_share", "outputs_to_fill")
# What other readings settle is not fitted: streaming on an Adreno 660 (35 of 51 GB/s), and the launch overhead, which
# the quickest Adreno row bounds (11.2 us with its work).
FIXED: dict[str, dict[str, float]] = {"adreno": {"launch_us": 10.0, "dram_share": 0.68}, "mali": {}}
START = {"adreno": (0.2, 0.2, 0.05, 8.0, 8.0, 0.6, 4096.0), "mali": (0.15, 0.15, 0.05, 8.0, 100.0, 0.6, 1024.0)}


def read(path: Path, device: str) -> tuple[Array, Array]:
    """Features (peak MAC/us, kind, MACs, bytes, reduction, outputs) and measured microseconds, one row an operator."""
    features, measured = [], []
    with path.open() as stream:
        for row in csv.DictReader(stream):
            if not row["file"].startswith(device) or "winograd" in row["task"]:
                continue
            values = features_of(row, device)
            features.append(values)
            measured.append(float(row["us"]))
    return np.array(features), np.array(measured)


def features_of(row: dict[str, str], device: str) -> tuple[float, ...]:
    def number(name: str) -> int:
        return int(float(row[name])) if row[name] else 1

    half = row["dtype"] == "float16"
    channels, filters, groups = number("C"), number("K"), number("groups")
    if row["task"].startswith("depthwise"):
        groups = channels
    window = number("R") * number("S")
    stride = max(1, number("stride_h"))
    source = number("N") * channels * number("H") * number("W")
    outputs = number("N") * filters * max(1, number("H") // stride) * max(1, number("W") // stride)
    reduction = channels // groups * window
    kind = 2 if groups == channels and window > 1 and groups > 1 else int(window == 1)
    peak = DEVICES[device][1 if half else 0] * 1e3 / 2
    size = (2 if half else 4) * (source + outputs + filters * reduction)
    return peak, kind, float(row["macs"]), size, reduction, outputs


def predict(parameters: Array, features: Array, bandwidth: float) -> Array:
    """Microseconds."""
    efficiency, (reuse, launch, share, fill) = parameters[:3], parameters[3:]
    peak, kind, macs, size, reduction, outputs = features.T
    rate = peak * efficiency[kind.astype(int)] * reduction / (reduction + reuse)
    busy = np.maximum(macs / rate, size / (bandwidth * 1e3 * share))
    return np.asarray(launch + busy / np.minimum(1, outputs / fill))


def fit(features: Array, measured: Array, device: str) -> Array:
    bandwidth = DEVICES[device][2]
    fixed = {NAMES.index(name): value for name, value in FIXED[device].items()}

    def values_of(logs: Array) -> Array:
        values = np.exp(logs)
        values[list(fixed)] = list(fixed.values())
        return np.asarray(values)

    def loss(logs: Array) -> float:
        values = values_of(logs)
        outside = max(0.0, values[5] - 1) + sum(max(0.0, share - 1) for share in values[:3])
        return float(np.abs(np.log(predict(values, features, bandwidth) / measured)).mean() + 10 * outside)

    best = np.log(np.array(START[device]))
    for _ in range(4):  # Nelder-Mead stalls: start again from where it stood
        best = minimize(loss, best, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-4, "fatol": 1e-6}).x
    return values_of(best)


def report(path: Path, device: str) -> dict[str, Any]:
    features, measured = read(path, device)
    bandwidth = DEVICES[device][2]
    parameters = fit(features, measured, device)
    error = np.abs(np.log(predict(parameters, features, bandwidth) / measured))
    fold = np.random.default_rng(0).permutation(len(measured)) % 2
    held_out = np.empty_like(error)
    for part in (0, 1):
        found = fit(features[fold != part], measured[fold != part], device)
        held_out[fold == part] = np.abs(
            np.log(predict(found, features[fold == part], bandwidth) / measured[fold == part])
        )
    kinds = {name: features[:, 1] == index for index, name in enumerate(KINDS)}
    return {
        "rows": len(measured),
        "fastest_row_us": float(measured.min()),
        "parameters": {name: float(f"{value:.3g}") for name, value in zip(NAMES, parameters, strict=True)},
        "median_error_percent": round(float(np.expm1(np.median(error))) * 100, 1),
        "held_out_median_error_percent": round(float(np.expm1(np.median(held_out))) * 100, 1),
        "held_out_factor_two_thirds": round(float(np.exp(np.quantile(held_out, 0.683))), 2),
        "held_out_factor_90_percent": round(float(np.exp(np.quantile(held_out, 0.9))), 2),
        "median_error_percent_by_kind": {
            name: round(float(np.expm1(np.median(error[rows]))) * 100, 1) for name, rows in kinds.items() if rows.any()
        },
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/fit_kernel_model.py TOPHUB.csv")
    print(json.dumps({device: report(Path(sys.argv[1]), device) for device in DEVICES}, indent=2))
