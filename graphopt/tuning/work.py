"""What an engine is given: jobs with what is known already, and which runner, in words that travel to other hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.job import Job, Runner
from graphopt.tuning.records import Record
from graphopt.tuning.tracker import Tracker

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

    def open(self, target: TvmTarget) -> Runner:
        """The runner itself.

        Raises:
            GraphoptError: it does not suit the target, or there is no tracker.
        """
        if self.kind == "static":
            from graphopt.tuning.static import StaticRunner

            return StaticRunner(target)
        if self.kind == "local":
            from graphopt.tuning.local import LocalRunner

            return LocalRunner(target)
        from graphopt.tuning.rpc import RpcRunner

        if self.tracker is None or not self.key:
            raise GraphoptError("--runner rpc needs --tracker HOST:PORT and --key KEY, those of your tracker")
        return RpcRunner(target, self.tracker, self.key, self.limit_s)


@dataclass(frozen=True)
class Work:
    """A job with the records that its search goes on from."""

    job: Job
    earlier: Sequence[Record]


def past(deadline: float) -> Callable[[], bool]:
    """Whether the deadline is over."""
    return lambda: time.time() >= deadline
