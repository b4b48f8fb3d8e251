"""What the regressions of quantised networks may be wrong by: milliseconds under each of many draws."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from graphopt.backends.qnn.doubt import DRAWS, Array, drawn_for
from graphopt.backends.qnn.quantised import PARAMETERS, QuantisedFeatures
from graphopt.backends.qnn.target import QuantisedNpuModel


@dataclass(frozen=True)
class QuantisedDoubt:
    """What the calibration of one precision leaves open (`benchmarks/cost.py --doubt` makes the file).

    `offsets`: what is added to each parameter of the fit, a value for each bootstrap of the networks; a parameter that
    is not fitted has none. `residuals`: ln(measured / estimated) of networks left out.
    """

    source: str
    offsets: dict[str, list[float]]
    residuals: list[float]


@lru_cache
def shipped_quantised_doubt() -> dict[str, QuantisedDoubt]:
    """By precision."""
    content = json.loads((Path(__file__).parent / "doubt_quantised.json").read_text())
    return {precision: QuantisedDoubt(**found) for precision, found in content.items()}


def drawn_quantised(features: QuantisedFeatures, model: QuantisedNpuModel, doubt: QuantisedDoubt) -> Array:
    """Milliseconds under each draw. Parameters, none negative, are drawn for all networks alike; a residual, of either
    sign, for this one.
    """
    total = np.zeros(DRAWS)
    for term, name in PARAMETERS.items():
        moved = getattr(model, name).value + np.resize(doubt.offsets.get(name, [0.0]), DRAWS)
        total += getattr(features, term) * np.maximum(moved, 0.0)
    own = drawn_for(f"network {sorted(asdict(features).items())}")
    residual = own.choice(doubt.residuals, DRAWS) * own.choice([-1.0, 1.0], DRAWS)
    return np.asarray(total * np.exp(residual))
