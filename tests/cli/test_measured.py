"""`graphopt cost` of a network that a device has measured."""

from __future__ import annotations

import json
from pathlib import Path

from graphs import Call

from graphopt.cost.keys import graph_key
from graphopt.cost.measured import Measured, Reading, keep_measured
from graphopt.models.source import load_source


def test_what_a_device_has_measured_comes_first(call: Call, halver: Path, tmp_path: Path) -> None:
    target = "sm8650-adreno750"
    canonical, _ = load_source(halver, None, tmp_path / "cache" / "exports")
    for day, latency in (("01", 1.5), ("02", 1.25)):
        reading = Reading(latency, 1.0, 2.0, "median", 30, f"phone {day}", "a runtime")
        row = Measured(target, graph_key(canonical), f"2026-11-{day}T10:00:00+00:00", "graphopt measure", reading)
        keep_measured(tmp_path / "cache", row)
    status, out, _ = call("cost", halver, "--target", target, "--target", "exynos2100-mali-g78")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(
        f"{target}: 1.250 ms (measured, median of 30 runs, 1 to 2 ms; phone 02; a runtime; 2026-"
    )
    assert lines[1].startswith(f"{target}: 1.500 ms (measured, ")
    assert [line.partition(" ms (")[2].partition(",")[0] for line in lines[2:]] == ["estimated", "estimated"]
    _, out, _ = call("cost", halver, "--target", target, "--json")
    found = json.loads(out)
    assert (found["provenance"], [row["latency_ms"] for row in found["measured"]]) == ("estimated", [1.5, 1.25])
