"""Fits the kernel model's parameters to measured operators. The formula is `kernel_model`'s own, on arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from costs.operators import DEVICES, Array, Measured, Predict, robust
from graphopt.backends.opencl.operators import operator_kernels
from graphopt.backends.targets import load_target
from graphopt.cost.target import Fact
from graphopt.kernels.model import overlapped, register_tiles, tiled_work
from graphopt.kernels.target import GpuTarget, KernelKind

# start, least and most of every parameter: shares are physical shares
BOUNDS: dict[str, tuple[float, float, float]] = {
    "conv": (0.4, 0.01, 1),
    "pointwise": (0.4, 0.01, 1),
    "depthwise": (0.1, 0.003, 1),
    "transform": (0.1, 0.003, 1),
    "half_share": (0.8, 0.4, 1),
    "cache_load": (0.5, 0.02, 20),
    "overlap": (1.5, 1, 8),
    "dram_share": (0.7, 0.05, 1),
}
START = {
    "adreno": {"launch_overhead": (4.0, 0.3, 30.0), "threads_to_fill": (3000.0, 10.0, 1e5)},
    "mali": {"launch_overhead": (80.0, 1.0, 200.0), "threads_to_fill": (300.0, 10.0, 1e5)},
}
ADRENO = {"buffer_share": (0.3, 0.02, 1.0)}  # Mali's rows all read buffers
_KINDS: tuple[str, ...] = get_args(KernelKind)


@dataclass(frozen=True)
class Kernels:
    """The kernels of many operators as columns; `owner` is each kernel's operator."""

    owner: NDArray[np.int64]
    count: int
    kind: NDArray[np.int64]
    half: NDArray[np.bool_]
    buffers: NDArray[np.bool_]
    macs: Array
    outputs: Array
    traffic: Array
    tile: Array
    loads: Array

    def total(self, ms: Array) -> Array:
        """Microseconds of each operator."""
        return np.asarray(1e3 * np.bincount(self.owner, ms, self.count), dtype=np.float64)


def kernels_of(measured: Measured, target: GpuTarget) -> Kernels:
    """All kernels of all operators, with their tiles; rows with fewer tiles than others repeat their last one."""
    accumulators, vector = int(target.fact("accumulators")), int(target.fact("vector_width"))
    found = [
        (index, operator.dtype == "float16", kernel)
        for index, operator in enumerate(measured.operators)
        for kernel in operator_kernels(operator, target)
    ]
    tiles = [register_tiles(kernel, accumulators, vector) for _, _, kernel in found]
    most = max(len(sizes) for sizes, _ in tiles)
    return Kernels(
        owner=np.array([index for index, _, _ in found]),
        count=len(measured.operators),
        kind=np.array([_KINDS.index(kernel.kind) for _, _, kernel in found]),
        half=np.array([half for _, half, _ in found]),
        buffers=np.array([kernel.storage == "buffer" for _, _, kernel in found]),
        macs=np.array([kernel.macs for _, _, kernel in found], dtype=float),
        outputs=np.array([kernel.outputs for _, _, kernel in found], dtype=float),
        traffic=np.array([kernel.bytes_read + kernel.bytes_written for _, _, kernel in found], dtype=float),
        tile=np.array([np.pad(sizes, (0, most - len(sizes)), mode="edge") for sizes, _ in tiles]),
        loads=np.array([np.pad(loads, (0, most - len(loads)), mode="edge") for _, loads in tiles]),
    )


def predict(values: dict[str, float], kernels: Kernels, target: GpuTarget) -> Array:
    """Microseconds of each operator, as `operator_price` gives them for `with_parameters(target, values)`."""
    return kernels.total(kernel_times(values, kernels, target))


def kernel_times(values: dict[str, float], kernels: Kernels, target: GpuTarget) -> Array:
    """Milliseconds of each kernel."""
    efficiency = np.array([values.get(kind, 1.0) for kind in _KINDS])[kernels.kind]
    peak = 1e6 * np.where(kernels.half, target.fact("fp16_peak") * values["half_share"], target.fact("fp32_peak"))
    rate = peak / 2 * efficiency * np.where(kernels.buffers, values.get("buffer_share", 1.0), 1.0)
    work = tiled_work(
        (kernels.macs / rate)[:, None],
        kernels.outputs[:, None],
        kernels.tile,
        kernels.loads,
        values["cache_load"],
        values["threads_to_fill"],
    ).min(axis=1)
    memory = kernels.traffic / (target.fact("dram_bandwidth") * values["dram_share"] * 1e6)
    return np.asarray(values["launch_overhead"] / 1e3 + overlapped(work, memory, values["overlap"]))


def fit(measured: Measured, device: str, start: dict[str, float] | None = None) -> dict[str, float]:
    """The parameters, by name."""
    target = load_target(DEVICES[device])
    bounds = {**BOUNDS, **START[device], **(ADRENO if device == "adreno" else {})}
    names = list(bounds)
    first, least, most = (np.log([bounds[name][i] for name in names]) for i in range(3))
    kernels, logs = kernels_of(measured, target), np.log(measured.us)

    def residuals(point: Array) -> Array:
        error = np.log(predict(dict(zip(names, np.exp(point), strict=True)), kernels, target)) - logs
        return np.concatenate([robust(error), 0.015 * (point - first)])  # where the rows say nothing, the start stays

    draw = np.random.default_rng(0)
    begins = (
        [np.log([start[name] for name in names])] if start else [first, *(first + draw.normal(0, 0.5, (3, len(names))))]
    )
    found = [
        least_squares(residuals, np.clip(begin, least + 1e-6, most - 1e-6), bounds=(least, most), max_nfev=60)
        for begin in begins
    ]
    best = min(found, key=lambda result: float(result.cost))
    return dict(zip(names, (float(value) for value in np.exp(best.x)), strict=True))


def learner(measured: Measured, device: str) -> Callable[[Measured], Predict]:
    """Fits to a part of the rows, from where the fit to all of them ended."""
    target, whole = load_target(DEVICES[device]), fit(measured, device)

    def learn(part: Measured) -> Predict:
        values = fit(part, device, whole)
        return lambda unseen: predict(values, kernels_of(unseen, target), target)

    return learn


def with_parameters(target: GpuTarget, values: dict[str, float]) -> GpuTarget:
    """`target` with fitted parameters in the place of its own, their sources kept."""
    model = target.kernel_model
    new = {
        name: Fact(value=value, unit="1", source="fitted here, not the target's own") for name, value in values.items()
    }
    efficiency = {kind: new.get(kind, fact) for kind, fact in model.efficiency.items()}
    rest: dict[str, Fact] = {
        name: new[name] for name in ("half_share", "cache_load", "overlap", "buffer_share") if name in new
    }
    facts = {
        name: fact.model_copy(update={"value": values.get(name, fact.value)}) for name, fact in target.facts.items()
    }
    return target.model_copy(
        update={"kernel_model": model.model_copy(update={"efficiency": efficiency, **rest}), "facts": facts}
    )
