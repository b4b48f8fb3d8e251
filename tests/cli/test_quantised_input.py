"""A file that is quantised already, given to each command: kept as it is, priced, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Call
from npu import needs_compiler

from graphopt.quantise.quantise import quantise

NO_SURGERY = "is quantised (QDQ), and {} a network in float: give the file that it was made of"
NOT_CARRIED = "the network is quantised (QDQ), which only onnxruntime, LiteRT on a CPU and the NPU carry here"


@pytest.fixture
def int8(halver: Path, tmp_path: Path) -> Path:
    """x -> 0.5 x + 0.25 in w8a8."""
    images = [np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)]
    made = quantise(onnx.load(halver), images, lambda model: 0.0).model
    onnx.save(made, tmp_path / "int8.onnx")
    return tmp_path / "int8.onnx"


def pipeline(model: Path, photographs: Path, target: str) -> Path:
    path = model.parent / "pipeline.yaml"
    path.write_text(
        f"model: {model}\ntargets: {{{target}: 1}}\npasses: [clipped-norm]\nresolution: [16, 16]\n"
        f"data: {{train: [{photographs}], test: [{photographs}]}}\n"
    )
    return path


def test_it_is_judged_and_run(call: Call, int8: Path, photographs: Path, tmp_path: Path) -> None:
    status, said, _ = call("evaluate", "--model", int8, "--data", photographs)
    assert (status, said.startswith("psnr ")) == (0, True)
    restored = tmp_path / "restored.png"
    assert call("denoise", photographs / "0.png", restored, "--model", int8)[0] == 0
    assert restored.is_file()


@needs_compiler
def test_the_npu_prices_it_in_its_own_precision(call: Call, int8: Path) -> None:
    status, said, _ = call("cost", int8, "--target", "sm8650-hexagon")
    assert (status, "(estimated, " in said) == (0, True)
    _, said, _ = call("cost", int8, "--target", "sm8650-hexagon", "--breakdown")
    assert "\nconvolved " in said  # a term of the regression of integers alone


@pytest.mark.parametrize("target", ["host-tvm", "sm8650-adreno750"])
def test_targets_without_integers_refuse_it(mistake: Callable[..., str], int8: Path, target: str) -> None:
    assert f"target {target}: {NOT_CARRIED}" in mistake("cost", int8, "--target", target)


def test_a_kernel_file_is_not_made_of_it(mistake: Callable[..., str], int8: Path) -> None:
    assert NOT_CARRIED in mistake("verify", int8, "--target", "sm8650-adreno750")


def test_the_leaderboard_says_so_before_it_prices_others(mistake: Callable[..., str], int8: Path) -> None:
    said = mistake("leaderboard", "--only", "enerzai", "--add", int8, "--size", "32x32")
    assert said.startswith(f"error: leaderboard: --add {int8}: target exynos2100-mali-g78: {NOT_CARRIED}")


def test_surgery_refuses_it_by_name(
    call: Call, mistake: Callable[..., str], int8: Path, photographs: Path, tmp_path: Path
) -> None:
    passes = f"{int8} {NO_SURGERY.format('passes take')}"
    assert passes in mistake("explain", int8, "--pass", "clipped-norm")
    assert passes in mistake("passes", "check", "clipped-norm", "--model", int8)
    said = mistake("quantise", int8, tmp_path / "again.onnx", "--data", photographs)
    assert f"{int8} {NO_SURGERY.format('quantising takes')}" in said
    surgery = f"{int8} {NO_SURGERY.format('surgery takes')}"
    assert surgery in call("run", pipeline(int8, photographs, "host-onnxruntime"))[2]
    tuned = pipeline(int8, photographs, "host-tvm")
    assert surgery in call("tune", tuned, "--target", "host-tvm", "--budget", "1 trials")[2]


def test_what_has_no_weights_to_take_refuses_it(mistake: Callable[..., str], int8: Path, tmp_path: Path) -> None:
    said = mistake("models", "export", "nafnet-width32", tmp_path / "out.onnx", "--weights", int8)
    assert f"checkpoint {int8} cannot be read as weights" in said
    assert "is no bundle" in mistake("measure", int8, "--device", "ssh://user@board")
