"""Timing under clocks that are made up: what is charged, when it ends, and what its intervals hold."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import pytest

from graphopt.backends import measuring
from graphopt.backends.measuring import (
    Clock,
    Limits,
    busy,
    median_interval,
    over_loadings,
    pinned,
    time_call,
    time_ratio,
)
from graphopt.cost.ratio import Ratio


class Machine:
    """A machine whose time passes only while a call runs; others may take a share of it."""

    def __init__(self, seed: int = 0):
        self.wall_s = self.cpu_s = 0.0
        self.generator = np.random.default_rng(seed)
        self.calls: list[str] = []
        self.clock = Clock(lambda: self.wall_s, lambda: self.cpu_s)

    def call(
        self, name: str, seconds: float, noise: float = 0.0, waits: float = 0.0, drift: float = 0.0
    ) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            took = seconds * np.exp(noise * self.generator.standard_normal()) * (1 + drift * self.wall_s)
            self.cpu_s += took
            self.wall_s += took + waits * self.generator.random()

        return run


def test_a_quiet_machine_says_the_same_each_time() -> None:
    machine = Machine()
    timing = time_call(machine.call("a", 0.25), Limits(warm_up=3, least=8), machine.clock)
    assert (timing.ms, timing.low_ms, timing.high_ms) == pytest.approx((250, 250, 250))
    assert timing.runs == 8
    assert len(machine.calls) == 3 + 8


def test_short_calls_are_timed_together() -> None:
    machine = Machine()
    timing = time_call(machine.call("a", 1e-4), Limits(warm_up=1, least=8), machine.clock)
    assert timing.ms == pytest.approx(0.1)
    assert len(machine.calls) in (1 + 8 * 10, 1 + 8 * 11)  # a millisecond each


def test_time_that_others_took_is_not_charged_to_one_thread() -> None:
    machine = Machine()
    assert time_call(machine.call("a", 0.1, waits=0.3), Limits(least=8), machine.clock).ms == pytest.approx(100)
    machine = Machine()
    several = time_call(machine.call("a", 0.1, waits=0.3), Limits(threads=2, least=8), machine.clock)
    assert several.ms > 150  # their processors' time is not how long a caller waits


def test_noise_is_measured_until_the_median_is_narrow() -> None:
    machine = Machine()
    timing = time_call(machine.call("a", 0.01, noise=0.1), Limits(seconds=1e9, most=10**6), machine.clock)
    assert timing.runs == 512  # half of its interval: 1.645 x 1.25 x 0.1 / sqrt(512) = 0.9 %
    assert timing.ms == pytest.approx(10, rel=0.02)
    assert timing.low_ms == pytest.approx(10 * np.exp(-1.645 * 0.1), rel=0.03)
    assert timing.high_ms == pytest.approx(10 * np.exp(1.645 * 0.1), rel=0.03)


@pytest.mark.parametrize(
    ("limits", "runs"),
    [
        (Limits(narrow=0, seconds=0.95), 10),  # 0.1 s each
        (Limits(narrow=0, seconds=1e9, most=40), 40),
        (Limits(narrow=0, seconds=0.0), 5),  # fewer bound nothing
    ],
)
def test_limits_end_it(limits: Limits, runs: int) -> None:
    machine = Machine()
    assert time_call(machine.call("a", 0.1, noise=1e-6), limits, machine.clock).runs == runs


def test_a_ratio_is_of_turns_that_interleave() -> None:
    machine = Machine()
    before, after, ratio = time_ratio(
        machine.call("a", 0.3), machine.call("b", 0.1), Limits(warm_up=1, least=5), machine.clock
    )
    assert "".join(machine.calls) == "ab" + "abba" + 2 * "baababba"
    assert (before.ms, after.ms, before.runs, after.runs) == pytest.approx((300, 100, 10, 10))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((3, 3, 3))
    assert ratio.provenance == "measured"


def test_a_machine_that_gets_slower_changes_no_ratio() -> None:
    """Half a percent for each second: the times rise by a fifth, and their ratio is what it was."""
    machine = Machine()
    before, _, ratio = time_ratio(
        machine.call("a", 0.3, drift=0.005),
        machine.call("b", 0.1, drift=0.005),
        Limits(narrow=0, most=50, seconds=1e9),
        machine.clock,
    )
    assert before.high_ms > 1.15 * before.low_ms
    assert ratio.value == pytest.approx(3, rel=1e-3)
    assert ratio.high - ratio.low < 1e-3


def test_the_interval_of_a_ratio_holds_nine_of_ten() -> None:
    """Noise of 5 %, and rounds until it is narrow."""
    held = 0
    for seed in range(300):
        machine = Machine(seed)
        calls = machine.call("a", 0.2, noise=0.05), machine.call("b", 0.1, noise=0.05)
        _, _, ratio = time_ratio(*calls, Limits(threads=2, seconds=1e9), machine.clock)
        held += ratio.low <= 2 <= ratio.high
    assert held / 300 == pytest.approx(0.9, abs=0.05)


def test_ratios_of_several_loadings_are_one() -> None:
    """Student's t: four loadings whose logarithms lie a hundredth about that of 2 (their deviation is 0.0115)."""
    found = [Ratio(2 * math.exp(off), 1.9, 2.1, "measured") for off in (0.01, -0.01, 0.01, -0.01)]
    one = over_loadings(found)
    assert one.value == pytest.approx(2)
    assert math.log(one.high / one.value) == pytest.approx(2.353 * 0.011547 / 2, rel=1e-3)
    assert one.high * one.low == pytest.approx(4)
    assert over_loadings(found[:1]) == found[0]


@pytest.mark.parametrize("loadings", [2, 3, 4, 6])
def test_their_interval_holds_nine_of_ten(loadings: int) -> None:
    offs = np.random.default_rng(0).normal(0, 0.01, (2000, loadings))
    ratios = [over_loadings([Ratio(math.exp(off), 0, 9, "measured") for off in row]) for row in offs]
    assert np.mean([ratio.low <= 1 <= ratio.high for ratio in ratios]) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("count", "ranks"), [(5, (0, 4)), (8, (1, 6)), (100, (41, 58))])
def test_ranks_that_hold_the_median(count: int, ranks: tuple[int, int]) -> None:
    """As tables of the sign test say: 93.75 %, 92.97 %, 91.1 %."""
    assert median_interval([float(number) for number in range(count)][::-1]) == ranks


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_pinned_to_the_quietest_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one processor: there is nothing to choose")
    loads = [1.0] * (max(before) + 1)
    quiet = max(before)
    loads[quiet] = 0.2
    monkeypatch.setattr(measuring, "_loads", lambda seconds: loads)
    with pinned(1):
        assert os.sched_getaffinity(0) == {quiet}
    assert os.sched_getaffinity(0) == before
    with pinned(len(before) + 3):
        assert os.sched_getaffinity(0) == before


def test_a_machine_without_affinities_pins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pinned(1):
        pass


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_loads", lambda seconds: [0.9, 0.7])
    assert busy() == (
        "this machine is busy: others keep 1.6 of 2 processors; times may be too long (ratios suffer less)"
    )
    monkeypatch.setattr(measuring, "_loads", lambda seconds: [0.3, 0.1])
    assert busy() == ""
    monkeypatch.setattr(measuring, "_loads", lambda seconds: [])  # a system that does not say
    assert busy() == ""


def test_loads_are_read_from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 ticks: 5 idle, 5 that wait for a disk, 4 stolen by the host."""
    ticks = iter([[(100, 1000), (50, 500)], [(110, 1020), (50, 520)]])
    monkeypatch.setattr(measuring, "_ticks", lambda: next(ticks))
    assert measuring._loads(0.0) == [0.5, 1.0]
