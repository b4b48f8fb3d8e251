"""How many times faster one network is than another, with the bounds of that ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphopt.cost.record import Cost, Provenance

NINETY = 1.6449  # standard deviations on either side of the middle that hold 90 %


@dataclass(frozen=True)
class Ratio:
    """Latency before / latency after: above 1 where the second network is faster. `low` and `high` hold 90 %."""

    value: float
    low: float
    high: float
    provenance: Provenance

    def __str__(self) -> str:
        return f"{self.value:.2f}x ({self.low:.2f} to {self.high:.2f})"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Ratio:
        return cls(**content)


def independent(before: Cost, after: Cost) -> Ratio:
    """The widest that the bounds of two prices allow: nothing is known of what their errors share."""
    if not after.latency_ms:
        return Ratio(1.0, 1.0, 1.0, after.provenance)
    low, high = before.low_ms / after.high_ms, before.high_ms / max(after.low_ms, 1e-9)
    return Ratio(before.latency_ms / after.latency_ms, low, high, after.provenance)


def drawn(value: float, ratios: Any, provenance: Provenance) -> Ratio:
    """`value` with the bounds that hold 90 % of `ratios` (draws), and the value itself."""
    import numpy as np

    low, high = (float(bound) for bound in np.quantile(ratios, (0.05, 0.95)))
    return Ratio(value, min(low, value), max(high, value), provenance)
