"""Tuning: workloads and a budget become a plan, the plan becomes jobs, and what they find goes into the database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from graphopt.atomic import write_json
from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.budget import Budget, split
from graphopt.tuning.databases import TVM, database, mark_tuned
from graphopt.tuning.engine import Engine
from graphopt.tuning.job import Job
from graphopt.tuning.records import Database, Loaded, Record
from graphopt.tuning.work import RunnerSpec, Work
from graphopt.tuning.workload import Workloads

BATCH = 8
SECONDS_A_TRIAL = {"static": 0.1, "local": 1.0, "rpc": 2.0}  # what a budget in minutes is split by, at first


@dataclass(frozen=True)
class Planned:
    """One workload of a plan: what it may spend, in trials or seconds."""

    key: str
    name: str
    weight: float
    share: float


@dataclass(frozen=True)
class Plan:
    """Which workloads are tuned, and how the budget is split among them. `refused`: kernels that TVM cannot compile."""

    budget: Budget
    runner: str
    provenance: Provenance
    tvm: str
    jobs: tuple[Planned, ...]
    refused: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Plan:
        jobs = tuple(Planned(**job) for job in content["jobs"])
        return cls(**{**content, "budget": Budget(**content["budget"]), "jobs": jobs})

    def left(self, job: Planned, loaded: Loaded) -> float:
        """What a workload may still spend, in trials or seconds."""
        spent = loaded.trials(job.key) if self.budget.unit == "trials" else loaded.spent_s(job.key)
        return max(0.0, job.share - spent)


class Watch(Protocol):
    """Hears what happens to a plan."""

    def planned(self, plan: Plan, loaded: Loaded) -> None:
        """Before the first trial; `loaded` is what earlier runs have found."""

    def done(self, job: Planned, records: Sequence[Record], ended: bool) -> None:
        """After each batch of a job, and with `ended` after its last."""

    def note(self, line: str) -> None:
        """Something that the user should know."""


def make_plan(workloads: Workloads, budget: Budget, spec: RunnerSpec, batch: int = BATCH, workers: int = 1) -> Plan:
    """Splits the budget by the weights of the workloads, in whole batches. Minutes are those of a clock, in each of
    which `workers` work.
    """
    if not workloads.found:
        raise GraphoptError("nothing to tune: TVM makes no kernel of this network that it can compile")
    total, chunk = budget.amount, float(batch)
    if budget.unit == "minutes":
        total, chunk = 60 * budget.amount * workers, batch * SECONDS_A_TRIAL[spec.kind]
    weights = {workload.key: workload.weight for workload in workloads.found}
    shares = split(total, chunk, weights)
    whole = sum(weights.values()) or 1.0
    jobs = tuple(Planned(w.key, w.name, w.weight / whole, shares[w.key]) for w in workloads.found)
    return Plan(budget, spec.kind, spec.provenance, TVM, jobs, workloads.refused)


def tune(
    workloads: Workloads,
    plan: Plan,
    target: TvmTarget,
    found: Database,
    spec: RunnerSpec,
    engine: Engine,
    watch: Watch,
    batch: int = BATCH,
) -> Loaded:
    """Runs what is left of a plan. Each batch is on disk before the next is asked for: whatever stops this, a kill too,
    loses the batch in flight at most, and a second call goes on from there.

    Raises:
        GraphoptError: the disk is full, the devices are gone, the runner does not suit the target.
    """  # fmt: skip
    loaded = found.load()
    for version, count in sorted(loaded.foreign.items()):
        watch.note(f"{count} trials of TVM {version} in {found.path} are not used: this is TVM {TVM}")
    watch.planned(plan, loaded)
    by_key = {workload.key: workload for workload in workloads.found}
    works, jobs = [], []
    in_time = plan.budget.unit == "minutes"
    left_s = 0.0
    for planned in plan.jobs:
        left = plan.left(planned, loaded)
        earlier = loaded.records.get(planned.key, [])
        if left <= 0 or any(record.trace is None for record in earlier):  # done, or no schedule can be made
            continue
        left_s += left
        trials, seconds = (None, left) if in_time else (int(left), None)
        job = Job(by_key[planned.key], target, found.target, TVM, batch, trials, seconds)
        works.append(Work(job, earlier))
        jobs.append(planned)
    deadline = time.time() + left_s / engine.workers if in_time else float("inf")
    for place, batch_done in engine.run(works, spec, deadline):
        records = batch_done.records if batch_done is not None else []
        if records:
            found.append(records)
            loaded.add(records)
        for line in batch_done.notes if batch_done is not None else ():
            watch.note(line)
        watch.done(jobs[place], records, batch_done is None)
    return loaded


@contextmanager
def locked(found: Database) -> Iterator[None]:
    """One `graphopt tune` at a time in one database; the system drops the lock of one that was killed."""
    try:
        found.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GraphoptError(f"tuning database {found.folder} cannot be written: {error.strerror}") from error
    lock = FileLock(found.folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise GraphoptError(
            f"tuning database {found.folder} is in use by another graphopt tune; wait for its end, or watch it with "
            "--status"
        ) from error
    try:
        mark_tuned(found)
        yield
    finally:
        mark_tuned(found)
        lock.release()


def is_locked(found: Database) -> bool:
    """Whether a `graphopt tune` is at work in this database."""
    if not (found.folder / ".lock").exists():
        return False
    lock = FileLock(found.folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def open_database(folder: Path, target: TvmTarget, spec: RunnerSpec) -> Database:
    """The database that a runner's trials of a target go into."""
    return database(folder, target, spec.provenance, spec.key if spec.kind == "rpc" else "")


def save_plan(plan: Plan, found: Database, name: str) -> None:
    """Writes the plan beside the records, for `--status`."""
    path = _plan_path(found, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, plan.to_dict())


def read_plan(found: Database, name: str) -> Plan | None:
    """The plan of the last `graphopt tune` of that name, if there was one."""
    try:
        return Plan.from_dict(json.loads(_plan_path(found, name).read_text()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _plan_path(found: Database, name: str) -> Path:
    return found.folder / "plans" / f"{name}.json"
