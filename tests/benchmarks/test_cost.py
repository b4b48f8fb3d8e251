"""The figures of `benchmarks/cost.py`: the fit finds what made the data, and no workload is in two folds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.backends.opencl.operators import Operator, operator_price
from graphopt.backends.targets import load_target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TASKS = {
    "adreno": ("conv2d_nchwc.image2d", "conv2d_nchw_winograd.image2d", "conv2d_nchw.cuda"),
    "mali": ("conv2d_nchw_spatial_pack.mali", "conv2d_nchw_winograd.mali", "dense.mali"),
}


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.split(".")[0] == "costs"]:
        del sys.modules[name]


def operators(device: str, count: int) -> tuple[Operator, ...]:
    random = np.random.default_rng(3)
    made = []
    for _ in range(count):
        task = str(random.choice(TASKS[device]))
        side, window = int(random.choice([1, 7, 14, 17, 28, 56])), int(random.choice([1, 3]))
        depthwise = "winograd" not in task and "dense" not in task and random.random() < 0.3
        if "winograd" in task or depthwise:
            window = 3
        if task.startswith("dense"):
            side = window = 1
        channels, filters = (int(c) for c in random.choice([16, 24, 64, 128, 256, 512], 2))
        filters, groups = (channels, channels) if depthwise else (filters, 1)
        task = f"depthwise_{task}" if depthwise else task
        half = Operator(task, "float16", 1, channels, side, side, filters, (window, window), 1, groups, side, side)
        made += [half, replace(half, dtype="float32")]
    return tuple(made)


def measured(device: str, count: int) -> Any:
    """Operators whose times are the model's own prices, under the parameters of the target's file."""
    from costs.operators import DEVICES, Measured

    target, drawn = load_target(DEVICES[device]), operators(device, count)
    return Measured(drawn, np.array([operator_price(operator, target)[0] for operator in drawn]))


@pytest.mark.parametrize("device", ["adreno", "mali"])
def test_the_fit_predicts_as_the_model_prices(device: str) -> None:
    from costs.kernel_fit import BOUNDS, START, fit, kernels_of, predict, with_parameters
    from costs.operators import DEVICES

    data, target = measured(device, 60), load_target(DEVICES[device])
    found = fit(data, device)
    assert set(found) >= set(BOUNDS) | set(START[device])
    predicted = predict(found, kernels_of(data, target), target)
    changed = with_parameters(target, found)
    prices = [operator_price(operator, changed)[0] for operator in data.operators]
    assert predicted == pytest.approx(prices, rel=1e-9)
    assert predicted == pytest.approx(data.us, rel=0.02)  # it found what made the data
    assert target.kernel_model is not None
    assert found["pointwise"] == pytest.approx(target.kernel_model.efficiency["pointwise"].value, rel=0.15)
    assert found["launch_overhead"] == pytest.approx(target.fact("launch_overhead"), rel=0.1)


def test_a_workload_is_in_one_fold() -> None:
    from costs.operators import FOLDS, folds, held_out, workload

    data = measured("mali", 40)
    fold = folds(data.operators)
    by_workload: dict[object, set[int]] = {}
    for operator, part in zip(data.operators, fold, strict=True):
        by_workload.setdefault(workload(operator), set()).add(int(part))
    assert all(len(parts) == 1 for parts in by_workload.values())
    assert len(set(fold)) == FOLDS
    seen = []

    def learn(part: Any) -> Any:
        known = {workload(operator) for operator in part.operators}

        def predict(unseen: Any) -> Any:
            seen.extend(workload(operator) in known for operator in unseen.operators)
            return unseen.us

        return predict

    assert held_out(data, learn) == pytest.approx(data.us)
    assert len(seen) == len(data.us)
    assert not any(seen)


def test_scores() -> None:
    from costs.operators import score

    found = score(np.array([1.1, 2.0, 2.0, 8.0]), np.array([1.0, 2.0, 4.0, 5.0]))
    assert found == {"median_error": pytest.approx(0.3), "spearman": pytest.approx(0.9486833)}


def test_simple_models_fit_what_is_simple() -> None:
    from costs.baselines import macs_alone, previous, roofline
    from costs.operators import Measured

    drawn = operators("mali", 30)
    macs = np.array([operator.outputs * operator.reduction for operator in drawn], dtype=float)
    data = Measured(drawn, macs / 1000)
    assert macs_alone(data, "mali")(data) == pytest.approx(data.us)
    late = Measured(drawn, 50 + macs / 1000)
    assert np.median(np.abs(roofline(late, "mali")(late) / late.us - 1)) < 0.02
    assert np.median(np.abs(previous(late, "mali")(late) / late.us - 1)) < 0.2


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(BENCHMARKS / "cost.py"), "--json", "--calibration", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    nowhere = run(tmp_path / "nowhere")
    assert nowhere.returncode == 1
    assert (
        nowhere.stderr
        == f"{tmp_path / 'nowhere'} is no folder; give that of the calibration files with --calibration\n"
    )
    empty = run(tmp_path)
    assert empty.returncode == 1
    assert "tophub_gpu_measured_ops.csv does not exist" in empty.stderr
    assert len(empty.stderr.splitlines()) == 1


def test_the_command_prints_the_figures(tmp_path: Path) -> None:
    rows = ["file,task,dtype,N,C,H,W,K,R,S,stride_h,stride_w,groups,us"]
    for device in ("adreno", "mali"):
        data = measured(device, 24)
        rows += [
            f"{device}_v0,{o.task},{o.dtype},1,{o.channels},{o.height},{o.width},{o.filters},{o.window[0]},"
            f"{o.window[1]},1,1,{o.groups},{us}"
            for o, us in zip(data.operators, data.us, strict=True)
        ]
    (tmp_path / "tophub_gpu_measured_ops.csv").write_text("\n".join(rows) + "\n")
    command = [sys.executable, str(BENCHMARKS / "cost.py"), "--json", "--only", "operators"]
    command += ["--calibration", str(tmp_path)]
    figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    keys = {"adreno_fp16", "adreno_fp32", "mali_fp16", "mali_fp32"}
    assert keys <= set(figures)
    assert all(set(figures[key]) == {"median_error", "spearman"} for key in keys)
    assert all(set(figures["baselines"][name]) == keys for name in figures["baselines"])
    assert len(figures["baselines"]) == 3
    assert figures["mali_fp32"]["median_error"] < 0.1 < figures["baselines"]["macs_alone"]["mali_fp32"]["median_error"]


def test_what_residuals_have_in_common() -> None:
    from costs.kernel_doubt import shared

    random, group = np.random.default_rng(0), np.repeat(np.arange(200), 20)
    alone = random.normal(0, 0.2, 4000)
    assert shared(alone, group) < 0.02
    assert shared(alone + random.normal(0, 0.1, 200)[group], group) == pytest.approx(0.1, rel=0.1)


def test_errors_of_several_kernels_even_out() -> None:
    from costs.kernel_doubt import concentration
    from costs.kernel_fit import fit

    data = measured("mali", 20)
    found = concentration(data, "mali", fit(data, "mali"))
    dense = np.array([operator.family == "dense" for operator in data.operators])
    assert found[dense] == pytest.approx(np.ones(dense.sum()))  # one kernel
    assert (found[~dense] < 1).all()
    assert (found > 0.5).all()


def test_a_ratio_is_judged_by_its_draws() -> None:
    from costs.coverage import pairs_of, summary

    drawn = np.exp(np.random.default_rng(0).normal(0, 0.1, (40, 512)))
    found = summary(pairs_of(drawn, np.exp(np.random.default_rng(1).normal(0, 0.1, 40))))
    assert found["ratios"] == 40 * 39 / 2
    assert found["coverage"] == pytest.approx(0.9, abs=0.05)
    assert found["median_width"] == pytest.approx(np.exp(2 * 1.645 * 0.1 * 2**0.5), rel=0.05)
