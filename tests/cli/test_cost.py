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
