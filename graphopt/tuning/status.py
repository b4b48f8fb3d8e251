"""How far the tuning of a pipeline is: its plan, what the database holds by now, and whether anybody works at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.errors import GraphoptError
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.records import Loaded
from graphopt.tuning.tune import Plan, Planned, is_locked, open_database, read_plan
from graphopt.tuning.work import RunnerSpec


@dataclass(frozen=True)
class Status:
    """A row for each job. `foreign`: trials of other versions of TVM, which are not used."""

    plan: Plan
    rows: list[dict[str, Any]]
    at_work: bool
    foreign: dict[str, int]


def tuning_status(config: Path, target: TvmTarget, spec: RunnerSpec, folder: Path) -> Status:
    """What `graphopt tune CONFIG` has done for a target, by the databases in `folder` (the cost cache's `tuning`).

    Raises:
        GraphoptError: no such tuning has been started.
    """
    found = open_database(folder, target, spec)
    plan = read_plan(found, config.stem)
    if plan is None:
        raise GraphoptError(
            f"no tuning of {config} for {target.name} with --runner {spec.kind} has been started; the same command "
            "without --status starts one"
        )
    loaded, at_work = found.load(), is_locked(found)
    rows = [_row(number, job, plan, loaded, at_work) for number, job in enumerate(plan.jobs, 1)]
    return Status(plan, rows, at_work, dict(sorted(loaded.foreign.items())))


def _row(number: int, job: Planned, plan: Plan, loaded: Loaded, at_work: bool) -> dict[str, Any]:
    best, trials = loaded.best(job.key), loaded.trials(job.key)
    if plan.budget.unit == "trials":
        spent = f"{trials}/{job.share:.0f}"
    else:
        spent = f"{trials} in {loaded.spent_s(job.key):.0f}/{job.share:.0f} s"
    return {
        "job": number,
        "kernel": job.name,
        "weight": f"{job.weight:.1%}",
        "trials": spent,
        "best us": f"{1e6 * best.seconds:.4g}" if best is not None else "-",
        "provenance": plan.provenance,
        "device": best.device if best is not None else None,
        "state": _state(job, plan, loaded, at_work),
    }


def _state(job: Planned, plan: Plan, loaded: Loaded, at_work: bool) -> str:
    trials = loaded.trials(job.key)
    if not job.share:
        return "no share"
    if trials and loaded.best(job.key) is None:
        return "failed"
    if plan.left(job, loaded) <= 0:
        return "done"
    if not trials:
        return "waiting"
    return "running" if at_work else "stopped"
