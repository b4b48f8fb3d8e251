"""Engines run jobs: `local` one after the other in this process, `ray` on the hosts of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from graphopt.errors import GraphoptError
from graphopt.tuning.job import Batch, run_job
from graphopt.tuning.work import RunnerSpec, Work, past


class Engine(Protocol):
    """Runs jobs, `workers` at a time; gives (the job's place, a batch) as batches are done, and (place, None) where a
    job ends.
    """

    workers: int

    def run(self, works: Sequence[Work], spec: RunnerSpec, deadline: float) -> Iterator[tuple[int, Batch | None]]:
        """`deadline` is in seconds of `time.time()`: no batch starts later."""


class LocalEngine:
    """One job after the other, in this process."""

    workers = 1

    def run(self, works: Sequence[Work], spec: RunnerSpec, deadline: float) -> Iterator[tuple[int, Batch | None]]:
        if not works:
            return
        runner = spec.open(works[0].job.target)
        try:
            for place, work in enumerate(works):
                for batch in run_job(work.job, runner, work.earlier, past(deadline)):
                    yield place, batch
                yield place, None
        finally:
            runner.close()


def find_engine(name: str) -> Engine:
    """`local` or `ray`."""
    if name == "local":
        return LocalEngine()
    if name == "ray":
        from graphopt.tuning.ray_engine import RayEngine

        return RayEngine()
    raise GraphoptError(f"engine '{name}' is not known; known: local, ray")
