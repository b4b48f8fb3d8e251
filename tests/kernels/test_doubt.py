"""Draws of what the kernel model does not know: what two networks share cancels, and the interval holds what was timed."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from graphopt.backends.opencl.operator_files import read_operators
from graphopt.backends.opencl.operators import operator_kernels
from graphopt.backends.targets import load_target
from graphopt.kernels.doubt import DRAWS, Doubt, Draws, shipped_doubt
from graphopt.kernels.model import KernelFacts, price
from graphopt.kernels.target import GpuTarget, KernelKind

MEASURED = Path(__file__).parent / "tophub_operators.csv"  # every fifth row of TVM's TopHub (tlc-pack/tophub)
KERNEL = KernelFacts("k", "conv", 10_000_000, 0, 0, 400_000, 400_000, 65536, 65536, 16, 64, 64, 3, 3, storage="buffer")
FIRST = (0.090729, 0.104846, 0.208253)  # ms
NOTHING = Doubt("made up", {}, [0.0], kind=0.0, carried_kind=0.0, carried_kernel=0.0, spread=10.0)


def gpu(name: str) -> GpuTarget:
    target = load_target(name)
    assert isinstance(target, GpuTarget)
    return target


def spread_of(ratio: np.ndarray) -> float:
    low, high = np.quantile(ratio, (0.05, 0.95))
    return float(high / low)


@pytest.mark.parametrize("kind", get_args(KernelKind))
def test_without_doubt_each_draw_is_the_price(kind: KernelKind) -> None:
    target = gpu("rk3399-mali-t860")
    launch = target.facts["launch_overhead"]
    target = target.model_copy(update={"facts": {**target.facts, "launch_overhead_worst": launch}})
    kernel = replace(KERNEL, kind=kind, macs=0 if kind in ("reduction", "elementwise") else KERNEL.macs, flops=70_000)
    drawn = Draws(target, NOTHING).times(kernel)
    assert drawn == pytest.approx(np.full(DRAWS, price(kernel, target)[0]), rel=1e-9)


def test_what_both_share_cancels() -> None:
    draws = Draws(gpu("exynos2100-mali-g78"))
    alone, twice = draws.times(KERNEL), draws.times(replace(KERNEL, name="another", flops=100_000))
    assert spread_of(alone) > 2  # of one price
    assert spread_of(alone / twice) < 1.05  # the same kernel, with something fused into it
    other = draws.times(replace(KERNEL, channels=32, outputs=131072))
    depthwise = draws.times(replace(KERNEL, kind="depthwise"))
    assert 1.2 < spread_of(alone / other) < spread_of(alone / depthwise)


def test_draws_are_the_same_in_any_process() -> None:
    first, again = (Draws(gpu("sm8650-adreno750")).times(KERNEL) for _ in range(2))
    assert (first == again).all()
    assert first[:3] == pytest.approx(FIRST, abs=1e-6)


def test_what_is_carried_over_is_doubted_more() -> None:
    target, depthwise = gpu("rk3399-mali-t860"), replace(KERNEL, kind="depthwise")
    facts = target.kernel_model.spread.model_copy(update={"value": 2.9})
    away = target.model_copy(update={"kernel_model": target.kernel_model.model_copy(update={"spread": facts})})
    doubt = replace(shipped_doubt("mali"), residuals=[0.0])
    home, carried = (Draws(device, doubt) for device in (target, away))
    shares = [spread_of(draws.times(KERNEL) / draws.times(depthwise)) for draws in (home, carried)]
    assert shares[1] > 1.5 * shares[0]


def test_operands_that_may_lie_anywhere_are_drawn_between_textures_and_buffers() -> None:
    target = gpu("tophub-adreno")
    draws = Draws(target, replace(NOTHING, factors={}))
    kernels = {where: replace(KERNEL, storage=where) for where in ("texture", "buffer", "unknown")}
    texture, buffer, unknown = (draws.times(kernel) for kernel in kernels.values())
    assert (texture <= unknown).all()
    assert (unknown <= buffer).all()
    assert np.median(unknown) < np.median((texture + buffer) / 2)


def test_a_measured_kernel_stays_within_its_bounds() -> None:
    drawn = Draws(gpu("sm8650-adreno750")).measured("key", (2.0, 1.9, 2.1))
    assert np.quantile(drawn, (0.05, 0.5, 0.95)) == pytest.approx((1.9, 2.0, 2.1), rel=0.02)


@pytest.mark.parametrize(("device", "name"), [("adreno", "tophub-adreno"), ("mali", "rk3399-mali-t860")])
def test_the_interval_holds_nine_of_ten_measured_pairs(device: str, name: str) -> None:
    target, found = gpu(name), []
    draws = {device.dtype: Draws(device) for device in map(target.with_precision, ("fp16", "fp32"))}
    for row, operator in read_operators(MEASURED):
        if row["file"].startswith(device):
            kernels = operator_kernels(operator, target)
            found.append((float(row["us"]), sum(draws[operator.dtype].times(kernel) for kernel in kernels)))
    assert len(found) >= 64
    held = []
    for (before, old), (after, new) in combinations(found, 2):
        low, high = np.quantile(old / new, (0.05, 0.95))
        held.append(low <= before / after <= high)
    assert 0.85 <= np.mean(held) <= 0.95


@pytest.mark.parametrize("device", ["adreno", "mali"])
def test_the_shipped_files_are_of_the_targets(device: str) -> None:
    doubt = shipped_doubt(device)
    target = gpu({"adreno": "tophub-adreno", "mali": "rk3399-mali-t860"}[device])
    assert doubt.spread == pytest.approx(target.kernel_model.spread.value, abs=0.011)
    assert all(np.exp(np.median(np.log(values))) == pytest.approx(1, rel=0.25) for values in doubt.factors.values())
    assert np.median(doubt.residuals) == pytest.approx(0, abs=0.01)
