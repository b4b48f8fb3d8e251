"""What real devices have measured of a run's networks: one row a place, the network before and after side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphopt.cost.measured import Measured


@dataclass(frozen=True)
class DeviceRow:
    """Measurements of one device, with one runtime: `latency_ms`, `low_ms`, `high_ms`, `peak_memory_bytes`, `date`,
    `provenance` and more of the network `before` and `after`; empty where it has measured one of them alone.
    """

    device: str
    runtime: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def date(self) -> str:
        """The day of the newer of the two."""
        return max(str(row.get("date", ""))[:10] for row in (self.before, self.after))


def device_rows(before: Sequence[Measured], after: Sequence[Measured]) -> list[DeviceRow]:
    """Pairs what the same device, runtime and threads have said; the newest last. What is alone stays alone."""
    places = {row.place: None for row in sorted([*before, *after], key=lambda row: row.date)}
    found = [{row.place: row.to_dict() for row in rows} for rows in (before, after)]
    return [DeviceRow(place[0], place[1], *(rows.get(place, {}) for rows in found)) for place in places]
