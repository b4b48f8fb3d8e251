"""The denoising benchmark: what `graphopt evaluate` and `graphopt cost` say, beside the first network, and only once."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from graphs import Call, nafnet
from PIL import Image

from denoising import quality
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.ratio import Ratio
from graphopt.ir.canonical import to_model
from graphopt.models.checkpoints import save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.source import load_source

Run = Callable[..., str]
TARGET = "sm8650-adreno750"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "benchmark_denoise", Path(__file__).parents[2] / "benchmarks" / "denoise.py"
    )
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two NAFNets of random weights, a checkpoint and an ONNX file, two grey photographs, and the cache."""
    folder = tmp_path_factory.mktemp("denoise")
    torch.manual_seed(4)
    network = NAFNet(NAFNetConfig(6, (1,), 1, (1,)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + 0.02)
    save_checkpoint(network, folder / "width6.safetensors")
    onnx.save(to_model(nafnet(size=32, width=2)), folder / "small.onnx")
    (folder / "photos").mkdir()
    for number in range(2):
        rows = np.linspace(100, 150, 48 + 10 * number)[:, None, None]  # far from 0 and 255: the noise is not clipped
        Image.fromarray(np.broadcast_to(rows, (len(rows), 52, 3)).astype(np.uint8)).save(
            folder / f"photos/{number}.png"
        )
    return folder


@pytest.fixture
def run(module: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the benchmark on the small networks: its output, or the message that it ends with."""

    def do(*more: str, networks: tuple[str, ...] = ("original=width6.safetensors", "small=small.onnx")) -> str:
        given = ["--networks", *networks, "--sets", "grey=photos", "--sigmas", "15", "25", "--targets", TARGET]
        monkeypatch.chdir(home)
        rest = [*given, "--resolution", "32", "32", "--cache", "cache", *more]
        monkeypatch.setattr(sys, "argv", ["denoise.py", *rest])
        capsys.readouterr()
        try:
            module.main()
        except SystemExit as stop:
            return str(stop.code)
        return capsys.readouterr().out

    return do


def test_rows_are_what_evaluate_and_cost_say(run: Run, home: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(run("--json"))
    rows = {(row["network"], row["sigma"]): row for row in found["rows"]}
    assert list(rows) == [(name, sigma) for name in ("noisy", "original", "small") for sigma in (15, 25)]
    assert (found["reference"], found["resolution"]) == ("original", [32, 32])
    assert found["command"].startswith("python benchmarks/denoise.py --networks original=width6.safetensors")
    for name, file in (("original", "width6.safetensors"), ("small", "small.onnx")):
        evaluated = ["evaluate", "--model", home / file, "--data", home / "photos", "--sigma", "15", "--json"]
        status, out, _ = call(*evaluated)
        assert status == 0
        alone = json.loads(out)
        row = rows[name, 15]
        assert (row["psnr"], row["ssim"]) == pytest.approx((alone["psnr"], alone["ssim"]), abs=1e-4)
        assert rows["noisy", 15]["psnr"] == pytest.approx(alone["noisy"]["psnr"], abs=1e-9)
        model, _ = load_source(home / file, (32, 32), home / "cache" / "exports")
        cost = open_backend(load_target(TARGET), CostCache(home / "cache" / "costs")).price(model)
        assert (row["parameters"], row["macs"]) == (cost.parameters, cost.macs)
        price = row["targets"][TARGET]
        assert (price["latency_ms"], price["peak_memory_bytes"]) == (cost.latency_ms, cost.peak_memory_bytes)
        assert (row["provenance"], price["provenance"]) == ("measured", "estimated")
        assert price["low_ms"] < price["latency_ms"] < price["high_ms"]


def test_ratios_and_differences_are_to_the_first_network(run: Run) -> None:
    found = json.loads(run("--json", "--jobs", "2"))["rows"]
    for name in ("original", "small", "noisy"):
        for sigma in (15, 25):
            row, first = (
                next(r for r in found if (r["network"], r["sigma"]) == (which, sigma)) for which in (name, "original")
            )
            assert row["psnr_difference"] == row["psnr"] - first["psnr"]
            assert row["ssim_difference"] == row["ssim"] - first["ssim"]
            if name == "noisy":
                assert (row["parameters"], row["macs_ratio"], row["targets"]) == (None, None, {})
                assert row["psnr"] == pytest.approx(20 * np.log10(255 / sigma), abs=0.1)
                continue
            assert row["parameters_ratio"] == row["parameters"] / first["parameters"]
            assert row["macs_ratio"] == row["macs"] / first["macs"]
            own, its = row["targets"][TARGET], first["targets"][TARGET]
            assert own["latency_ratio"] == own["latency_ms"] / its["latency_ms"]
            assert own["peak_memory_ratio"] == own["peak_memory_bytes"] / its["peak_memory_bytes"]
            assert (own["latency_ratio"] == 1) == (name == "original")
            assert own["gain"]["value"] == pytest.approx(1 / own["latency_ratio"])
            assert own["gain"]["low"] <= own["gain"]["value"] <= own["gain"]["high"]
            assert (own["gain"]["low"] == 1) == (name == "original")


def test_a_killed_benchmark_goes_on_where_it_stopped(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[float] = []
    evaluate = quality.evaluate

    def counted(*given: Any) -> Any:
        judged.append(given[1].sigma)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return evaluate(*given)

    def again(*more: str) -> str:
        return run("--json", "--cache", str(tmp_path / "cache"), *more, networks=("small=small.onnx",))

    monkeypatch.setattr(quality, "evaluate", counted)
    assert "the same command goes on from there" in again()
    assert judged == [15, 25, 15]
    found = again()
    assert judged[3:] == [15, 25], "two of four were kept"
    assert again() == found
    again("--sigmas", "15", "30")
    assert judged[5:] == [30, 30]
    Image.new("RGB", (40, 40), (90, 120, 110)).save(home / "photos" / "2.png")
    try:
        again()
    finally:
        (home / "photos" / "2.png").unlink()
    assert sorted(judged[7:]) == [15, 15, 25, 25], "a set of other photographs is another set"


def test_the_tables_of_the_results(run: Run) -> None:
    content, text = json.loads(run("--json")), run("--markdown")
    assert text.splitlines()[4:] == run().splitlines()[4:]  # all but the command
    assert f"commit `{content['commit']}`" in text
    lines = text.splitlines()
    original, small = (next(r for r in content["rows"] if r["network"] == name) for name in ("original", "small"))
    assert f"| original | {original['parameters']:,} | 1.000 | {original['macs'] / 1e9:.3f} | 1.000 |" in lines
    (priced,) = (line.split(" | ") for line in lines if line.startswith(f"| small | `{TARGET}`"))
    price = small["targets"][TARGET]
    assert priced[2:4] == [
        f"{price['latency_ms']:.3g} ({price['low_ms']:.3g} to {price['high_ms']:.3g})", str(Ratio.from_dict(price["gain"])),
    ]  # fmt: skip
    assert priced[-1] == "estimated |"
    assert "grey, measured: PSNR in dB (difference to `original`), SSIM" in lines
    at = lines.index("| network | sigma 15 | sigma 25 |")
    assert [line.split(" | ")[0] for line in lines[at + 2 : at + 5]] == ["| noisy", "| original", "| small"]
    assert f"{small['psnr']:.2f} ({small['psnr_difference']:+.2f}), {small['ssim']:.4f}" in lines[at + 4]
    assert f"| original | {original['psnr']:.2f}, {original['ssim']:.4f} |" in lines[at + 3]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--sets", "grey=nowhere"), "error: image folder nowhere does not exist"),
        (("--sets", "photos"), "error: --sets photos: expected NAME=PATH"),
        (("--targets", "sm8560-adreno750"), "'sm8560-adreno750' is not known; did you mean 'sm8650-adreno750'"),
        (("--networks", "a=gone.onnx"), "error: model gone.onnx does not exist"),
        (("--networks", "a=small.onnx", "a=small.onnx"), "error: --networks: 'a' is given twice"),
        (("--networks", "noisy=small.onnx"), "error: network 'noisy': that is the name of the images as they are"),
        (("--sigmas", "-1"), "error: --sigmas: expected standard deviations of 0 or more"),
        (("--jobs", "0"), "error: --jobs 0: expected 1 or more"),
        (("--resolution", "8", "8"), "error: resolution 8x8 is too small"),
    ],
)
def test_mistakes_are_said_in_one_message(run: Run, more: tuple[str, ...], message: str) -> None:
    found = run("--json", *more)
    assert message in found
    assert "\n" not in found
