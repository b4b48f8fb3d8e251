"""Engines run jobs: `local` one after the other in this process, `ray` on the hosts of a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from graphopt.cost.jobs.records import Record
from graphopt.cost.jobs.search import Batch, Job, Runner, run_job
from graphopt.cost.jobs.tracker import Tracker
from graphopt.cost.record import Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError

RunnerKind = Literal["local", "rpc", "static"]


@dataclass(frozen=True)
class RunnerSpec:
    """Which runner, in words that travel to other hosts. `limit_s`: how long a device may take for one trial."""

    kind: RunnerKind
    tracker: Tracker | None = None
    key: str = ""
    limit_s: int = 30

    @property
    def provenance(self) -> Provenance:
        return "estimated" if self.kind == "static" else "measured"

    def open(self, target: Target) -> Runner:
        """The runner itself.

        Raises:
            GraphoptError: it does not suit the target, or there is no tracker.
        """
        if self.kind == "static":
            from graphopt.cost.jobs.static import StaticRunner

            return StaticRunner(target)
        if self.kind == "local":
            from graphopt.cost.jobs.local import LocalRunner

            return LocalRunner(target)
        from graphopt.cost.jobs.rpc import RpcRunner

        if self.tracker is None or not self.key:
            raise GraphoptError("--runner rpc needs --tracker HOST:PORT and --key KEY, those of your tracker")
        return RpcRunner(target, self.tracker, self.key, self.limit_s)


@dataclass(frozen=True)
class Work:
    """A job with the records that its search goes on from."""

    job: Job
    earlier: Sequence[Record]


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


def past(deadline: float) -> Callable[[], bool]:
    """Whether the deadline is over."""
    return lambda: time.time() >= deadline


def find_engine(name: str) -> Engine:
    """`local` or `ray`."""
    if name == "local":
        return LocalEngine()
    if name == "ray":
        from graphopt.cost.jobs.ray_engine import RayEngine

        return RayEngine()
    raise GraphoptError(f"engine '{name}' is not known; known: local, ray")
