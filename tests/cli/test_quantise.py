"""`graphopt quantise`: the file, its figures in words and as JSON, and what other commands make of that file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from graphs import Call

from graphopt.ir.quantised import is_quantised


def test_what_it_says(call: Call, halver: Path, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    status, said, err = call("quantise", halver, out, "--data", photographs)
    assert status == 0
    assert is_quantised(onnx.load(out))
    lines = said.splitlines()
    assert lines[0].startswith(f"{out}: w8a8 for cpu, ranges by ")
    assert lines[1].startswith("psnr ")
    assert all("(measured)" in line for line in (lines[1], *lines[3:]))
    assert err.startswith("warning: calibrated on 2 patches; give photographs for eight or more")
    status, said, _ = call(
        "quantise", halver, out, "--data", photographs, "--device", "qnn", "--precision", "w8a16", "--json"
    )
    found = json.loads(said)
    assert (status, found["precision"], found["device"], found["provenance"]) == (0, "w8a16", "qnn", "measured")
    assert found["psnr"]["patches"] == found["psnr_seen"]["patches"] == 2
    assert found["psnr"]["quantised"] == pytest.approx(found["psnr"]["float"], abs=0.001)
    assert found["psnr"]["quantised"] == found["psnr_by_method"][found["method"]]


def test_what_is_made_is_priced_and_judged_but_not_rewritten(
    call: Call, mistake: Callable[..., str], halver: Path, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8.onnx"
    assert call("quantise", halver, out, "--data", photographs)[0] == 0
    status, said, _ = call("cost", out, "--target", "host-onnxruntime", "--json")
    found = json.loads(said)
    assert (status, found["macs"], found["parameters"], found["provenance"]) == (0, 16 * 16 * 9, 12, "measured")
    status, said, _ = call("evaluate", "--model", out, "--data", photographs)
    assert (status, said.startswith("psnr ")) == (0, True)
    said = mistake("explain", out, "--pass", "clipped-norm")
    assert f"{out} is quantised (QDQ), and passes take a network in float" in said
    said = mistake("quantise", out, tmp_path / "again.onnx", "--data", photographs)
    assert "is quantised (QDQ), and quantising takes a network in float" in said
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        f"model: {out}\ntargets: {{host-onnxruntime: 1}}\npasses: [clipped-norm]\nresolution: [16, 16]\nsearch: {{latency: 0.5}}\n"
        f"data: {{train: [{photographs}], test: [{photographs}]}}\n"
    )
    assert f"{out} is quantised (QDQ), and surgery takes a network in float" in call("run", pipeline)[2]


def test_layers_that_stay_wider(call: Call, halver: Path, photographs: Path, tmp_path: Path) -> None:
    given = (
        "quantise",
        halver,
        tmp_path / "int8.onnx",
        "--data",
        photographs,
        "--target",
        "host-onnxruntime",
        "--mixed",
        1,
    )
    status, said, _ = call(*given)
    assert status == 0
    lines = said.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'int8.onnx'}: w8a8 for host-onnxruntime, ranges by ")
    (mixed,) = (line for line in lines if line.startswith("  mixed: "))
    assert mixed == "  mixed: no layers pay for staying wider; all stay in 8 bits" or " ms (" in mixed
    found = json.loads(call(*given, "--json")[1])
    assert found["mixed"].keys() == {"wide", "gains_db", "prices_ms", "psnr", "latency_ms"}
    assert found["psnr"]["quantised"] == found["mixed"]["psnr"]["mixed"]


@pytest.mark.parametrize(
    ("output", "options", "said"),
    [
        ("int8.pth", (), "expected a name that ends in .onnx"),
        ("missing/int8.onnx", (), "in a folder that exists"),
        ("int8.onnx", ("--precision", "w8a16"), "device 'cpu' has no kernels for w8a16; expected w8a8"),
        ("int8.onnx", ("--device", "npu"), "unknown device 'npu'"),
        ("int8.onnx", ("--mixed", "0.1"), "--mixed asks what layers cost; say on which device, with --target"),
        ("int8.onnx", ("--target", "sm8650-adreno750"), "target sm8650-adreno750 does not compute in integers"),
    ],
)
def test_mistakes(
    mistake: Callable[..., str], halver: Path, photographs: Path, tmp_path: Path, output: str, options: tuple[str, ...],
    said: str,
) -> None:  # fmt: skip
    assert said in mistake("quantise", halver, tmp_path / output, "--data", photographs, *options)
    assert not (tmp_path / output).exists()


def test_a_target_and_a_kind_of_device_are_one_too_many(call: Call, tmp_path: Path) -> None:
    status, _, err = call(
        "quantise", "nafnet-width8-sigma25", tmp_path / "q.onnx", "--data", tmp_path, "--target", "host-onnxruntime",
        "--device", "qnn",
    )  # fmt: skip
    assert (status, err) == (1, "error: quantise: --target says whose kernels it is for; leave out --device\n")


@pytest.mark.parametrize("sigma", ["55-10", "ten", "-5", "nan"])
def test_noise_that_is_none(call: Call, tmp_path: Path, sigma: str) -> None:
    status, _, err = call("quantise", "m", tmp_path / "q.onnx", "--data", tmp_path, f"--sigma={sigma}")
    assert (status, err) == (
        1, f"error: quantise: --sigma is '{sigma}'; expected a number, 25, or a range, 10-55\n",
    )  # fmt: skip
