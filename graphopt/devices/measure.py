"""Measures a bundle on a device, and keeps what came back: in the user's cache, and in the bundle's manifest."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from graphopt.bundle.bundle import Bundle
from graphopt.bundle.manifest import Figure
from graphopt.cost.measured import Measured, keep_measured
from graphopt.devices.base import Device, Request
from graphopt.devices.inputs import measured_size
from graphopt.progress import Progress


def measure_bundle(
    bundle: Bundle, device: Device, request: Request, command: str, cache: Path, say: Progress
) -> Measured:  # fmt: skip
    """What the device says of the bundle. `cache` is the user's cache folder, `command` what measures it again.

    Raises:
        GraphoptError: see `Device.measure`; or the manifest cannot be written. The cache then has the result.
    """
    reading = device.measure(bundle, request, say)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    row = Measured(bundle.manifest.target, bundle.manifest.graph, now, command, reading)
    keep_measured(cache, row)
    bundle.with_figures(figures_of(row, measured_size(bundle.manifest)))
    return row


def figures_of(row: Measured, size: tuple[int, int]) -> list[Figure]:
    """Latency, memory and shares of a measurement, as manifests hold them."""
    found = row.reading
    about: dict[str, Any] = {
        "provenance": "measured", "size": size, "device": found.device, "runtime": found.runtime,
        "date": row.date[:10], "command": row.command,
    }  # fmt: skip
    made = [Figure(what="latency", value=found.latency_ms, low=found.low_ms, high=found.high_ms, unit="ms", **about)]
    if found.peak_memory_bytes is not None:
        made.append(Figure(what="peak memory", value=found.peak_memory_bytes, unit="byte", **about))
    made += [Figure(what=f"layers on {unit}", value=share, unit="1", **about) for unit, share in found.units.items()]
    return made
