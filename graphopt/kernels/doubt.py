"""What the kernel model may be wrong by: the time of a kernel under each of many draws of what is not known.

A ratio of two networks is narrower than the bounds of each, because most of what is not known is shared by them. So all
is drawn by what it belongs to, and a draw is the same before and after: the fit's parameters by the vector, what
kernels of a kind share by the kind, and what one kernel has alone by its shape. `docs/costs.md` says where each comes
from, and how often such an interval holds.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.cost.keys import hash_of
from graphopt.cost.ratio import NINETY
from graphopt.kernels.model import KernelFacts, Parameters, busy_time
from graphopt.kernels.target import GpuTarget

DRAWS = 512  # a multiple of the vectors of parameters
_CALIBRATED = ("conv", "pointwise", "depthwise", "transform")  # kinds that measured operators tell of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """What the calibration on one vendor's operators leaves open (`benchmarks/cost.py --doubt` makes the files).

    `factors`: what each parameter of the fit is multiplied by, a vector for each bootstrap of the workloads.
    `residuals`: evenly spaced quantiles of ln(measured / predicted) of operators that their fit has not seen.
    `kind`: deviation of the logarithm that kernels of one kind share; `carried_kind` and `carried_kernel`: the same,
    and that of one kernel, where the parameters are those of another architecture. `spread` holds 90 % of held-out
    rows.
    """

    source: str
    factors: dict[str, list[float]]
    residuals: list[float]
    kind: float
    carried_kind: float
    carried_kernel: float
    spread: float

    def key(self) -> str:
        """Another text where draws may be others."""
        return hash_of([asdict(self), DRAWS])


@lru_cache
def shipped_doubt(device: str) -> Doubt:
    """That of the vendor (`adreno` or `mali`), as the files beside this one hold it."""
    return Doubt(**json.loads((Path(__file__).parent / f"doubt_{device}.json").read_text()))


class Draws:
    """Kernels of one target under `DRAWS` draws.

    A target whose `spread` is larger than that of the calibration has its parameters from another architecture: the
    factor between both is that of its arithmetic as a whole, and of its memory.
    """

    def __init__(self, target: GpuTarget, doubt: Doubt | None = None):
        self._target = target
        self._doubt = doubt or shipped_doubt(target.device)
        carry = max(1.0, target.kernel_model.spread.value / self._doubt.spread)
        self._carried = carry > 1
        launch = target.fact("launch_overhead")
        worst = max(1.0, target.fact("launch_overhead_worst") / launch) if launch else 1.0
        base, factor = Parameters.of(target), self._factor
        half = factor("half_share") if target.dtype == "float16" else 1.0
        self._known = Parameters(
            peak=base.peak * half * self._shared("arithmetic", carry),
            efficiency={kind: value * factor(kind) for kind, value in base.efficiency.items()},
            buffer_share=base.buffer_share * factor("buffer_share"),
            special=np.full(DRAWS, base.special),
            cache_load=base.cache_load * factor("cache_load"),
            fill=base.fill * factor("threads_to_fill"),
            bandwidth=base.bandwidth * factor("dram_share") * self._shared("memory", carry),
            overlap=np.maximum(1.0, base.overlap * factor("overlap")),
            launch=base.launch * factor("launch_overhead") * self._shared("launch", worst),
        )
        # nothing is known of where operands lie: from textures, all of them, to buffers, all of them
        between = self._known.buffer_share ** _drawn("buffers").uniform(size=DRAWS)
        self._unknown = replace(self._known, buffer_share=between)

    def times(self, kernel: KernelFacts) -> Array:
        """Milliseconds of one call under each draw."""
        known = self._unknown if kernel.storage == "unknown" else self._known
        busy = busy_time(kernel, self._target, known, buffers=kernel.storage != "texture")
        return np.asarray((kernel.launches * known.launch + busy * self._kind(kernel.kind)) * self._own(kernel))

    def measured(self, key: str, bounds: tuple[float, float, float]) -> Array:
        """Of a kernel that was measured: milliseconds within its bounds, whatever the model's parameters."""
        middle, low, high = bounds
        deviation = math.log(max(1.0, high / low)) / (2 * NINETY) if low > 0 else 0.0
        return np.asarray(middle * np.exp(deviation * _drawn(f"measured {key}").normal(size=DRAWS)))

    def _factor(self, name: str) -> Array:
        given = np.asarray(self._doubt.factors.get(name, [1.0]))
        return np.resize(given, DRAWS)

    def _kind(self, kind: str) -> Array:
        alike = kind in _CALIBRATED and not self._carried
        deviation = self._doubt.kind if alike else self._doubt.carried_kind
        return np.asarray(np.exp(deviation * _drawn(f"kind {kind}").normal(size=DRAWS)))

    def _own(self, kernel: KernelFacts) -> Array:
        """By what is computed on which shape: a kernel that another operator was fused into is the same one."""
        shape = (kernel.kind, kernel.macs, kernel.outputs, kernel.channels, kernel.rows, kernel.columns)
        random = _drawn(f"kernel {shape} {kernel.window_rows} {kernel.window_columns} {kernel.stride}")
        share, normal = random.uniform(size=DRAWS), random.normal(size=DRAWS)
        residuals = self._doubt.residuals
        own = np.interp(share, np.linspace(0, 1, len(residuals)), residuals)
        return np.asarray(np.exp(own + (self._doubt.carried_kernel * normal if self._carried else 0.0)))

    def _shared(self, name: str, ninety: float) -> Array:
        """A factor that stays within 1 / `ninety` and `ninety` in 90 % of all draws."""
        return np.asarray(np.exp(math.log(ninety) / NINETY * _drawn(name).normal(size=DRAWS)))


def _drawn(name: str) -> Any:
    """Random numbers that are the same for the same name, in any network and any process."""
    return np.random.default_rng(int(hash_of(name)[:16], 16))
