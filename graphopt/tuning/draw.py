"""Schedules drawn at random from MetaSchedule's spaces for GPUs, with thread groups that the device can run.

MetaSchedule draws every tile alike and throws away 95 to 98 % of what it has scheduled, because a group of threads is
smaller than a wave or larger than the device takes: 0.3 s for one convolution. Here the sizes of groups are drawn
first, in numbers alone.
"""

from __future__ import annotations

import random
from math import prod
from typing import Any

from tvm import s_tir
from tvm.s_tir.schedule import Trace

_TILES = 5  # a spatial axis on a GPU is cut into blocks, virtual threads, threads and two levels within a thread
_VIRTUAL, _THREAD = 1, 2
_MOST_VIRTUAL = 8  # as MetaSchedule's check of GPU code allows
_MOST_OUTPUTS = 32  # of one thread: more sums than that leave a phone's registers
_LIKELY = (0.45, 0.05, 0.3, 0.1, 0.1)  # where a prime factor of an axis goes
_TRIES = 2000  # drawn tiles in numbers
_SCHEDULES = 50  # drawn schedules, for one that passes MetaSchedule's checks


class Draw:
    """Draws schedules for one workload."""

    def __init__(self, context: Any, seed: int):
        """`context` is a TuneContext for a GPU target."""
        self._module = context.mod
        self._space = [design.trace for design in context.generate_design_space()]
        self._checks = list(context.space_generator.postprocs)
        limits = context.target.attrs
        self._least, self._most = int(limits["thread_warp_size"]), int(limits["max_num_threads"])
        self._random = random.Random(seed)

    def schedules(self, count: int) -> list[Any]:
        """`count` schedules, fewer where most that are drawn fail MetaSchedule's checks."""
        made = []
        for _ in range(_SCHEDULES * count):
            schedule = self._one()
            if schedule is not None:
                made.append(schedule)
            if len(made) == count:
                break
        return made

    def _one(self) -> Any | None:
        trace = self._random.choice(self._space)
        decisions = self._tiles(trace)
        schedule = s_tir.Schedule(self._module, seed=self._random.randrange(1, 2**30), debug_mask=0)
        Trace(trace.insts, decisions).apply_to_schedule(schedule, remove_postproc=True)
        schedule.enter_postproc()
        return schedule if all(check.apply(schedule) for check in self._checks) else None

    def _tiles(self, trace: Any) -> dict[Any, list[int]]:
        tiled = [
            (inst, prod(int(f) for f in trace.get_decision(inst)), int(inst.attrs[1]))
            for inst in trace.insts
            if inst.kind.name == "SamplePerfectTile" and int(inst.attrs[0]) == _TILES
        ]
        if not tiled:
            return {}
        for _ in range(_TRIES):
            tiles = {inst: self._cut(extent, innermost) for inst, extent, innermost in tiled}
            threads = prod(tile[_THREAD] for tile in tiles.values())
            virtual = prod(tile[_VIRTUAL] for tile in tiles.values())
            outputs = virtual * prod(tile[3] * tile[4] for tile in tiles.values())
            if self._least <= threads <= self._most and virtual <= _MOST_VIRTUAL and outputs <= _MOST_OUTPUTS:
                break
        return tiles

    def _cut(self, extent: int, innermost: int) -> list[int]:
        """`extent` in `_TILES` factors: each prime factor goes anywhere."""
        primes = _primes(extent)
        while True:
            tile = [1] * _TILES
            for place, prime in zip(self._random.choices(range(_TILES), _LIKELY, k=len(primes)), primes, strict=True):
                tile[place] *= prime
            if tile[-1] <= innermost:
                return tile


def _primes(number: int) -> list[int]:
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return [*found, number] if number > 1 else found
