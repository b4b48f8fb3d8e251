"""`graphopt cost`: figures as JSON and in words, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphs import Call


def test_cost_as_json(call: Call, halver: Path) -> None:
    status, out, _ = call("cost", halver, "--target", "sm8650-adreno750", "--json")
    assert status == 0
    found = json.loads(out)
    assert list(found) == [
        "target", "latency_ms", "low_ms", "high_ms", "provenance", "macs", "parameters", "peak_memory_bytes", "breakdown",
    ]  # fmt: skip
    assert sum(kernel["ms"] for kernel in found["breakdown"]["kernels"]) == pytest.approx(found["latency_ms"])
    assert 0 < found["breakdown"]["limit_ms"] < found["latency_ms"]
    assert found["breakdown"]["blocks"] == []
    assert (found["target"], found["provenance"]) == ("sm8650-adreno750", "estimated")
    assert (found["macs"], found["parameters"]) == (16 * 16 * 9, 12)
    assert 0 < found["low_ms"] <= found["latency_ms"] <= found["high_ms"]
    both = ("--target", "sm8650-adreno750", "--target", "exynos2100-mali-g78")
    status, out, _ = call("cost", halver, *both, "--resolution", 32, 16, "--json")
    rows = json.loads(out)
    assert [row["target"] for row in rows] == ["sm8650-adreno750", "exynos2100-mali-g78"]
    assert {row["macs"] for row in rows} == {32 * 16 * 9}
    status, out, _ = call("cost", halver, *both[:2])
    assert status == 0
    assert out.startswith("sm8650-adreno750: 0.0")
    assert "(estimated, " in out


def test_cost_broken_down(call: Call, halver: Path) -> None:
    status, out, _ = call("cost", halver, "--target", "sm8650-adreno750", "--breakdown", "--json")
    assert status == 0
    found = json.loads(out)["breakdown"]
    assert [part["name"] for part in found["kinds"]] == ["pointwise"]
    assert len(found["blocks"]) == 1
    assert found["additivity"] == pytest.approx(0, abs=1e-9)
    status, out, _ = call("cost", halver, "--target", "sm8650-adreno750", "--breakdown")
    assert status == 0
    first, *rows = out.splitlines()
    assert "ms at the roofline" in first
    assert rows[0].split()[0] == "kind"
    assert rows[1].split()[:2] == ["pointwise", "1"]
    assert rows[-1].strip() == "the blocks, compiled alone, add up to the network +0.0%"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cost", "nafnet-width", "--target", "host-cpu"], "unknown model 'nafnet-width'; did you mean"),
        (["cost", "half.onnx", "--target", "host-cpo"], "target 'host-cpo' is not known; did you mean 'host-cpu'?"),
        (["cost", "half.onnx", "--target", "gone.yaml"], "config gone.yaml does not exist"),
        (["cost", "gone.onnx", "--target", "host-cpu"], "gone.onnx does not exist"),
        (["cost", "half.onnx", "--target", "host-cpu", "--resolution", 0, 0], "resolution 0x0 is too small"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50],
)
@pytest.mark.usefixtures("halver")
def test_a_mistake_is_one_line(arguments: list[Any], expected: str, mistake: Callable[..., str]) -> None:
    assert expected in mistake(*arguments)


def test_what_a_device_has_measured_comes_first(call: Call, halver: Path, tmp_path: Path) -> None:
    from graphopt.cost.keys import graph_key
    from graphopt.cost.measured import Measured, Reading, keep_measured
    from graphopt.models.source import load_source

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
