"""Tunes the kernels of a network and of all its candidates: what `graphopt tune` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graphopt.cost.cache import CostCache
from graphopt.cost.record import Provenance
from graphopt.ir.passes import Pass
from graphopt.ir.space import Space
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.budget import Budget
from graphopt.tuning.engine import Engine
from graphopt.tuning.tune import locked, make_plan, open_database, save_plan, tune
from graphopt.tuning.watch import ProgressWatch
from graphopt.tuning.work import RunnerSpec
from graphopt.tuning.workload import space_workloads


@dataclass(frozen=True)
class Tuned:
    """What the database `path` holds of the `kernels` of the plan: `trials` in all, and those that are `new`."""

    trials: int
    new: int
    kernels: int
    provenance: Provenance
    path: Path


def tune_space(
    name: str, open_space: Callable[[], Space], cleanups: Sequence[Pass], target: TvmTarget, cache: CostCache,
    budget: Budget, spec: RunnerSpec, engine: Engine, report: Callable[[str, float, str], None],
    note: Callable[[str], None],
) -> Tuned:  # fmt: skip
    """Runs what is left of the plan that a budget gives; the plan is kept under `name`. One at a time for a database.

    `report(part, share, words)`; `note` hears a line for whatever the user should know.

    Raises:
        GraphoptError: the database is in use, the runner does not suit the target, there is no tracker, no device.
    """
    found = open_database(cache.folder / "tuning", target, spec)
    with locked(found):
        spec.open(target).close()  # a runner that does not suit, or a tracker that is not there: before any work
        say = partial(report, "workloads")
        workloads = space_workloads(
            open_space(), target, cleanups, cache, lambda share, words: say(min(share, 0.999), words)
        )
        say(1.0, f"{len(workloads.found)} distinct kernels")
        plan = make_plan(workloads, budget, spec, workers=engine.workers)
        save_plan(plan, found, name)
        watch = ProgressWatch(partial(report, "tune"), note)
        for kernel, reason in workloads.refused.items():
            watch.note(f"{kernel} cannot be tuned, and is priced by its parts: {reason}")
        known = tune(workloads, plan, target, found, spec, engine, watch)
    report("tune", 1.0, watch.words())
    trials = sum(known.trials(job.key) for job in plan.jobs)
    return Tuned(trials, watch.trials, len(plan.jobs), plan.provenance, found.path)
