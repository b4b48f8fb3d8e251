"""What a device says is kept, in the cache and in the manifest, beside the estimate."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundled import ESTIMATE, TARGET, bundle_of

from graphopt.bundle.bundle import Bundle
from graphopt.cost.measured import Reading, measured_rows
from graphopt.devices.base import Device, Request
from graphopt.devices.measure import measure_bundle
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent


class Steady(Device):
    """Always says the same."""

    def __init__(self, address: str):
        self._latency = float(address)

    def measure(self, bundle: Bundle, request: Request, say: Progress) -> Reading:
        return Reading(
            self._latency, 2.9, 3.3, "median", request.runs, "a board", "onnxruntime 1.30", threads=request.threads,
            peak_memory_bytes=1000, units={"NPU": 0.75, "CPU": 0.25},
        )  # fmt: skip


def test_it_is_kept_twice(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.onnx": b"network"})
    row = measure_bundle(bundle, Steady("3.1"), Request(), "graphopt measure mine", tmp_path, silent)
    assert measured_rows(tmp_path, TARGET, bundle.manifest.graph) == [row]
    figures = Bundle.open(bundle.folder).manifest.figures
    assert figures[0] == ESTIMATE
    assert [(one.what, one.value, one.unit) for one in figures[1:]] == [
        ("latency", 3.1, "ms"), ("peak memory", 1000.0, "byte"), ("layers on NPU", 0.75, "1"), ("layers on CPU", 0.25, "1"),
    ]  # fmt: skip
    assert {one.provenance for one in figures[1:]} == {"measured"}
    latency = figures[1]
    assert (latency.low, latency.high, latency.size) == (2.9, 3.3, (32, 32))
    assert (latency.device, latency.runtime, latency.command) == (
        "a board",
        "onnxruntime 1.30",
        "graphopt measure mine",
    )
    assert latency.date == row.date[:10]


def test_a_second_look_takes_the_place_of_the_first(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.onnx": b"network"})
    for latency in ("3.1", "3.0"):
        measure_bundle(Bundle.open(bundle.folder), Steady(latency), Request(), "again", tmp_path, silent)
    assert [row.reading.latency_ms for row in measured_rows(tmp_path, TARGET, bundle.manifest.graph)] == [3.0]
    found = [one.value for one in Bundle.open(bundle.folder).manifest.figures if one.what == "latency"]
    assert found == [2.0, 3.0]


def test_what_cannot_be_written_into_the_bundle_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.onnx": b"network"})

    def refuse(self: Bundle, figures: object) -> Bundle:
        raise GraphoptError("manifest.json cannot be written: the disk is full")

    monkeypatch.setattr(Bundle, "with_figures", refuse)
    with pytest.raises(GraphoptError, match="the disk is full"):
        measure_bundle(bundle, Steady("3.1"), Request(), "graphopt measure mine", tmp_path, silent)
    assert len(measured_rows(tmp_path, TARGET, bundle.manifest.graph)) == 1
