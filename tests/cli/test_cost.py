"""`graphopt cost`: figures as JSON and in words, and mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from graphs import Call, onnx_model

from graphopt.ir.canonical import canonical
from graphopt.quantise.pricing import priced_form
from graphopt.quantise.rules import find_rules


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
        (["cost", "nafnet-width", "--target", "host-tvm"], "unknown model 'nafnet-width'; did you mean"),
        (["cost", "half.onnx", "--target", "host-cpo"], "target 'host-cpo' is not known; did you mean 'host-tvm'?"),
        (["cost", "half.onnx", "--target", "host-cpu"], "did you mean 'host-onnxruntime' or 'host-tvm'?"),
        (
            ["cost", "half.onnx", "--target", "android-onnxruntime"],
            "on this machine: A phone's CPU (onnxruntime) is another device",
        ),
        (["cost", "half.onnx", "--against", "gone.onnx", "--target", "host-tvm"], "gone.onnx does not exist"),
        (["cost", "--ops", "o.csv", "--against", "half.onnx", "--target", "host-tvm"], "leave one out"),
        (["cost", "--against", "half.onnx", "--target", "host-tvm"], "give a network"),
        (
            ["cost", "half.onnx", "--target", "host-onnxruntime", "--precision", "w8a16"],
            "cost: --precision: target host-onnxruntime has no w8a16; it has fp32, fp16 and w8a8",
        ),
        (["cost", "--ops", "o.csv", "--precision", "fp16", "--target", "host-tvm"], "leave out --precision"),
        (["cost", "half.onnx", "--target", "gone.yaml"], "config gone.yaml does not exist"),
        (["cost", "gone.onnx", "--target", "host-tvm"], "gone.onnx does not exist"),
        (["cost", "half.onnx", "--target", "host-tvm", "--resolution", 0, 0], "resolution 0x0 is too small"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50],
)
@pytest.mark.usefixtures("halver")
def test_a_mistake_is_one_line(arguments: list[Any], expected: str, mistake: Callable[..., str]) -> None:
    assert expected in mistake(*arguments)


def test_cost_against_another_network(call: Call, halver: Path) -> None:
    """A network against itself: the ratio, with its interval, and how it was found."""
    both = (halver, "--against", halver, "--target", "host-onnxruntime")
    status, out, _ = call("cost", *both, "--json")
    assert status == 0
    found = json.loads(out)
    assert (found["target"], found["before"], found["after"]) == ("host-onnxruntime", str(halver), str(halver))
    ratio = found["ratio"]
    assert ratio["provenance"] == "measured"
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert ratio["value"] == pytest.approx(1, abs=0.3)  # some microseconds, on whatever else runs
    status, out, _ = call("cost", *both, "--target", "sm8650-adreno750")
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith(f"host-onnxruntime: {halver} is ")
    assert first.endswith(f"as fast as {halver} (measured)")
    assert second.startswith(f"sm8650-adreno750: {halver} is 1.00x (")


def test_a_network_is_priced_in_another_precision(call: Call, halver: Path, tmp_path: Path) -> None:
    asked = ("--target", "host-onnxruntime", "--precision", "w8a8")
    status, out, _ = call("cost", halver, *asked)
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith("host-onnxruntime in w8a8: ")
    assert "(measured" in first
    assert second == "  quantised on a random image, for the price alone"
    status, out, _ = call("cost", halver, *asked, "--json")
    assert json.loads(out)["quantised_on_a_random_image"] == "w8a8"
    model = onnx.load(halver)
    onnx.save(priced_form(canonical(model, (16, 16), "halver"), *find_rules("cpu", "w8a8")), tmp_path / "qdq.onnx")
    for given in ([tmp_path / "qdq.onnx", *asked], [halver, *asked[:2]]):  # as it is
        assert "random" not in call("cost", *given)[1]


def test_the_float_network_against_the_other_in_integers(call: Call, halver: Path) -> None:
    both = (halver, "--against", halver, "--target", "host-onnxruntime", "--precision", "w8a8")
    status, out, _ = call("cost", *both)
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith(f"host-onnxruntime: {halver} in w8a8 is ")
    assert second == f"  {halver} is quantised on a random image, for the price alone; {halver} is as it was given"
    assert 0 < float(first.partition(" in w8a8 is ")[2].partition("x")[0]) < 0.9  # conversions cost more than it saves


def test_networks_of_other_images_are_not_compared(mistake: Callable[..., str], tmp_path: Path, halver: Path) -> None:
    wide = "(float[1, 3, 8, 16] x) => (float[1, 3, 8, 16] y) { y = Relu(x) }"
    onnx.save(onnx_model(wide), tmp_path / "wide.onnx")
    said = mistake("cost", halver, "--against", tmp_path / "wide.onnx", "--target", "host-onnxruntime")
    assert "wide.onnx takes 1x3x8x16; expected the same input" in said


def test_a_network_of_two_inputs_has_a_price(call: Call, tmp_path: Path) -> None:
    both = "(float[1, 3, 8, 8] x, float[1, 3, 8, 8] y) => (float[1, 3, 8, 8] z) { z = Mul(x, y) }"
    onnx.save(onnx_model(both), tmp_path / "both.onnx")
    status, out, _ = call("cost", tmp_path / "both.onnx", "--target", "sm8650-adreno750")
    assert status == 0
    assert "MiB peak (planned)" in out


def test_memory_is_said_as_planned_and_as_measured(call: Call, halver: Path) -> None:
    status, out, _ = call("cost", halver, "--target", "host-onnxruntime", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["measured_memory_bytes"] > 0
    status, out, _ = call("cost", halver, "--target", "host-onnxruntime")
    assert re.search(r"MiB peak \(planned, [+-]\d+\.\d% from \d+\.\d MiB measured\), ", out)


def test_a_busy_machine_is_said(call: Call, halver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.backends.host.busy", lambda: "this machine is busy")
    status, out, err = call("cost", halver, "--target", "host-onnxruntime", "--json")
    assert status == 0
    assert json.loads(out)["caution"] == "this machine is busy"
    assert err.splitlines()[0] == "warning: this machine is busy"
