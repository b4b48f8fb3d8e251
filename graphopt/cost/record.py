"""What a price is: latency with its bounds and its provenance, work, parameters and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Provenance = Literal["measured", "estimated"]
Basis = Literal["measured", "tuned", "model", "parts"]


@dataclass(frozen=True)
class Cost:
    """The price of a graph on one target. `low_ms` and `high_ms` are bounds of the estimate or of the measurements."""

    latency_ms: float
    low_ms: float
    high_ms: float
    provenance: Provenance
    macs: int
    parameters: int
    peak_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Cost:
        return Cost(**{field.name: content[field.name] for field in fields(Cost)})


@dataclass(frozen=True)
class KernelCost:
    """One kernel of a compiled graph; `calls` of one kind are one row, and the figures are for all of them.

    `basis` says what `ms` rests on: `measured` on a device over RPC; the kernel model with the best schedule that was
    `tuned`, with TVM's default schedule (`model`), or with those of the kernel's `parts`, where TVM cannot compile it.
    """

    name: str
    kind: str
    calls: int
    ms: float
    macs: int
    bytes_read: int
    bytes_written: int
    basis: Basis = "model"


@dataclass(frozen=True)
class NetworkCost(Cost):
    """A `Cost` with its breakdown into kernels (empty where the whole is measured at once)."""

    kernels: tuple[KernelCost, ...] = ()

    @property
    def total(self) -> Cost:
        """Without the breakdown."""
        return Cost.from_dict(self.to_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NetworkCost:
        cost = Cost.from_dict(content)
        return NetworkCost(**cost.to_dict(), kernels=tuple(KernelCost(**row) for row in content["kernels"]))
