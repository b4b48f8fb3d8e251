"""What the NPU's regression may be wrong by: a network's milliseconds under each of many draws of what is not known."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.backends.qnn.regression import Features
from graphopt.backends.qnn.target import NpuTarget
from graphopt.cost.keys import hash_of
from graphopt.cost.ratio import NINETY

DRAWS = 512

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """What the calibration leaves open (`benchmarks/cost.py --doubt` makes the file).

    `factors`: what each parameter of the fit is multiplied by, a vector for each bootstrap of the networks, and
    `exponents` what is added to that of the supertiles. `residuals`: ln(measured / estimated) of networks left out.
    """

    source: str
    factors: dict[str, list[float]]
    exponents: list[float]
    residuals: list[float]

    def key(self) -> str:
        """Another text where draws may be others."""
        return hash_of([asdict(self), DRAWS])


@lru_cache
def shipped_doubt() -> Doubt:
    return Doubt(**json.loads((Path(__file__).parent / "doubt.json").read_text()))


def drawn_times(features: Features, target: NpuTarget, doubt: Doubt) -> Array:
    """Milliseconds under each draw. Parameters are drawn for all networks alike; a residual, of either sign, for this
    one; and beyond the calibration one factor on what supertiles take, within `spread_beyond` in 90 % of the draws.
    """
    model = target.npu_model
    supertiles = max(features.supertiles, 1e-9) ** np.minimum(
        1.0, model.supertile_exponent.value + np.resize(doubt.exponents, DRAWS)
    )
    if features.supertiles > model.calibrated_supertiles.value:
        deviation = math.log(model.spread_beyond.value) / NINETY
        supertiles = supertiles * np.exp(deviation * drawn_for("beyond").normal(size=DRAWS))
    parts = {
        "launch": features.graphs,
        "per_gmac": features.gmac,
        "per_megabyte": features.megabytes + features.spilled,
        "per_supertile": supertiles,
    }
    total = sum(
        count * getattr(model, name).value * np.resize(doubt.factors[name], DRAWS) for name, count in parts.items()
    )
    own = drawn_for(f"network {sorted(asdict(features).items())}")
    residual = own.choice(doubt.residuals, DRAWS) * own.choice([-1.0, 1.0], DRAWS)
    return np.asarray(total * np.exp(residual))


def drawn_for(name: str) -> Any:
    """Random numbers that are the same for the same name, in any process."""
    return np.random.default_rng(int(hash_of(name)[:16], 16))
