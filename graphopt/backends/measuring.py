"""Times what runs on this machine: pinned, warmed up, interleaved, until the answer is narrow or a limit is reached.

A call that runs on one thread is charged what its own processor time says where that is less than the clock on the wall
says: while the scheduler ran somebody else, it did not run. Calls on more threads are charged the wall's time.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import fmean, median, stdev

from graphopt.cost.ratio import Ratio

Call = Callable[[], object]
CONFIDENCE = 0.9
_STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015)  # the 95 % quantiles for 1 to 5 degrees of freedom
_FLOOR = 5  # samples below which least and most do not hold 90 % of where the median may lie
_SAMPLE_S = 1e-3  # shorter calls are repeated, so that reading the clocks takes no part in what they say
_LOOK_S = 0.05  # how long processors are watched; the kernel counts in hundredths of a second
_BUSY = 0.25  # share of the machine that others take, from which times are not to be believed


@dataclass(frozen=True)
class Limits:
    """How long to go on: until half the 90 % interval is `narrow` (a share), or for `most` rounds, or `seconds`.

    `threads` is on how many the call runs. There are `least` rounds in any time, unless they take longer than
    `seconds`, and never fewer than five.
    """

    threads: int = 1
    warm_up: int = 2
    least: int = 8
    most: int = 512
    seconds: float = 5.0
    narrow: float = 0.01


@dataclass(frozen=True)
class Clock:
    """Seconds on the wall, and seconds that processors gave to this process."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: the median, and what nine of ten `runs` lie between."""

    ms: float
    low_ms: float
    high_ms: float
    runs: int


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keeps this thread, and those that are started inside, on the `threads` processors that have the least to do.

    Where the system has no affinities, nothing is pinned.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _quietest(threads, before))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def time_call(call: Call, limits: Limits = Limits(), clock: Clock = Clock()) -> Timing:
    """What a call takes. It computes something worth timing: a call that does nothing has no time."""
    sample = _sampler(call, limits, clock)
    seconds = _rounds(sample, lambda found: _half_width(found) / median(found), limits, clock)
    return _timing(seconds)


def time_ratio(
    before: Call, after: Call, limits: Limits = Limits(), clock: Clock = Clock()
) -> tuple[Timing, Timing, Ratio]:  # fmt: skip
    """What two calls take, and how many times faster `after` is, with a 90 % interval of that ratio itself.

    A round is before, after, after, before, and the next one the other way about: what drifts slowly cancels in each
    ratio, and each call follows the other as often as itself, whichever began. The median of the rounds' ratios is the
    answer, and order statistics bound it, whatever the noise looks like.
    """
    samplers = _sampler(before, limits, clock), _sampler(after, limits, clock)
    times: tuple[list[float], list[float]] = [], []
    turns = cycle((0, 1))

    def one_round() -> float:
        outer = next(turns)
        for one in (outer, 1 - outer, 1 - outer, outer):
            times[one].append(samplers[one]())
        return math.log(sum(times[0][-2:]) / sum(times[1][-2:]))

    logs = _rounds(one_round, _half_width, limits, clock)
    low, high = median_interval(logs)
    ratio = Ratio(math.exp(median(logs)), math.exp(low), math.exp(high), "measured")
    return _timing(times[0]), _timing(times[1]), ratio


def over_loadings(ratios: Sequence[Ratio]) -> Ratio:
    """One ratio of those of several loadings of the same two networks, six at most, with a 90 % interval (Student's t).

    Where a network comes to lie in memory changes its time by a percent, which no repetition tells that goes on with
    what was loaded once.
    """
    if len(ratios) == 1:
        return ratios[0]
    logs = [math.log(ratio.value) for ratio in ratios]
    middle, half = fmean(logs), _STUDENT[len(logs) - 2] * stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half), "measured")


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """What holds the median of where the samples come from, nine times of ten: two of them, by rank."""
    ordered, count = sorted(samples), len(samples)
    rank, below = 0, 0.5**count  # `below`: how likely at most `rank` of the samples lie below the median
    while below <= (1 - CONFIDENCE) / 2 and rank < count // 2:
        rank += 1
        below += math.comb(count, rank) * 0.5**count
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[-1 - rank]


def busy() -> str:
    """Why times that are taken now are not to be believed; empty where the machine has little else to do.

    Asked while nothing of ours runs: whatever is busy then are others, or the host of this virtual machine.
    """
    shares = _loads(_LOOK_S)
    if sum(shares) <= _BUSY * len(shares):
        return ""
    return (
        f"this machine is busy: others keep {sum(shares):.1f} of {len(shares)} processors; times may be too long "
        "(ratios suffer less)"
    )


def _sampler(call: Call, limits: Limits, clock: Clock) -> Callable[[], float]:
    """Warms up, and gives what takes one sample: seconds of a call, of several where they are short."""

    def sample(calls: int) -> float:
        wall, cpu = clock.wall(), clock.cpu()
        for _ in range(calls):
            call()
        cpu, wall = clock.cpu() - cpu, clock.wall() - wall
        return (min(wall, cpu) if limits.threads == 1 else wall) / calls

    last = 0.0
    for _ in range(max(1, limits.warm_up)):
        last = sample(1)
    calls = max(1, math.ceil(_SAMPLE_S / max(last, 1e-6)))
    return lambda: sample(calls)


def _rounds(
    one: Callable[[], float], width: Callable[[Sequence[float]], float], limits: Limits, clock: Clock
) -> list[float]:
    """Samples until they are narrow, which is asked each time that their number has doubled: who asks after each one
    stops too often where they agree by chance.
    """
    found: list[float] = []
    until, look = clock.wall() + limits.seconds, limits.least
    while True:
        found.append(one())
        if len(found) < _FLOOR:
            continue
        if len(found) >= limits.most or clock.wall() >= until:
            return found
        if len(found) >= look:
            if width(found) <= limits.narrow:
                return found
            look *= 2


def _half_width(samples: Sequence[float]) -> float:
    low, high = median_interval(samples)
    return (high - low) / 2


def _timing(seconds: Sequence[float]) -> Timing:
    ordered = sorted(1e3 * second for second in seconds)
    outside = int(len(ordered) * (1 - CONFIDENCE) / 2)
    return Timing(median(ordered), ordered[outside], ordered[-1 - outside], len(ordered))


def _quietest(threads: int, allowed: set[int]) -> set[int]:
    loads = _loads(_LOOK_S) if len(allowed) > threads else []
    return set(sorted(allowed, key=lambda one: loads[one] if one < len(loads) else 0.0)[:threads])


def _loads(seconds: float) -> list[float]:
    """The share of each processor's time that was not idle, by its number; what a host took away is not idle."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    return [
        1 - (idle - was_idle) / (total - was) if total > was else 0.0
        for (was_idle, was), (idle, total) in zip(before, after, strict=False)
    ]


def _ticks() -> list[tuple[int, int]]:
    """Idle and all ticks of each processor so far; none where the system does not say."""
    path = Path("/proc/stat")
    lines = path.read_text().splitlines() if path.exists() else []
    counts = [[int(word) for word in line.split()[1:9]] for line in lines if line[:3] == "cpu" and line[3:4].isdigit()]
    return [(row[3] + row[4], sum(row)) for row in counts]
