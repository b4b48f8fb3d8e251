"""`graphopt tune`: the kernels of a space, tuned for a target, with live progress, a status and a resume."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphopt.cli.terminal import JsonFlag, print_table, progress
from graphopt.cost.cache import cache_folder
from graphopt.errors import GraphoptError, did_you_mean

if TYPE_CHECKING:
    from graphopt.cost.record import KernelCost
    from graphopt.cost.target import Target
    from graphopt.run.pipeline import Pipeline
    from graphopt.tuning.records import Loaded, Record
    from graphopt.tuning.tune import Plan, Planned
    from graphopt.tuning.work import RunnerSpec

RUNNERS = ("local", "rpc", "static")
COLUMNS = ("job", "kernel", "weight", "trials", "best us", "provenance", "state")


def tune(
    config: Annotated[Path, typer.Argument(help="the pipeline, a YAML file")],
    target: Annotated[str, typer.Option(help="name of a target, or the path of its YAML")],
    budget: Annotated[
        str, typer.Option(help="in all, split by each kernel's weight: '500 trials' or '10 minutes'")
    ] = "256 trials",
    runner: Annotated[
        str | None, typer.Option(help="local (this CPU), rpc (devices at a tracker) or static (the kernel model)")
    ] = None,
    tracker: Annotated[str | None, typer.Option(help="HOST:PORT of a TVM RPC tracker")] = None,
    key: Annotated[str | None, typer.Option(help="what the tracker calls the device, e.g. phone")] = None,
    engine: Annotated[str, typer.Option(help="local (this process) or ray (a Ray cluster)")] = "local",
    limit: Annotated[int, typer.Option(min=1, help="seconds that a device may take for one trial")] = 30,
    status: Annotated[bool, typer.Option("--status", help="show the jobs, and how far they are")] = False,
    folder: Annotated[Path | None, typer.Option("--run", help="run folder; runs/NAME by default")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tunes the kernels of a network and of all its candidates. Goes on where it was stopped; later runs use it."""
    from graphopt.tuning.budget import parse_budget

    allowed = parse_budget(budget)
    with progress() as report:
        from graphopt.run.pipeline import open_pipeline

        pipeline = open_pipeline(config, folder, cache_folder(), report)
        wanted = _target(pipeline, target)
        spec = _spec(wanted, runner, tracker, key, limit)
        if not status:
            tuned = _tune(pipeline, config, wanted, spec, allowed, engine, report)
    if status:
        _show_status(config, wanted, spec, as_json)
    else:
        typer.echo(tuned)


def _target(pipeline: Pipeline, name: str) -> Target:
    from graphopt.cost.target import load_target

    return pipeline.targets[name] if name in pipeline.targets else load_target(name)


def _spec(target: Target, runner: str | None, tracker: str | None, key: str | None, limit: int) -> RunnerSpec:
    """The runner that is asked for; otherwise rpc where there is a tracker, else what the target's kind has."""
    from graphopt.tuning.work import RunnerSpec

    if target.kind == "qnn":
        raise GraphoptError(f"target {target.name}: its own compiler schedules the network, there is nothing to tune")
    kind: Any = runner or ("rpc" if tracker else "local" if target.kind == "llvm" else "static")
    if kind not in RUNNERS:
        raise GraphoptError(f"runner '{kind}' is not known; {did_you_mean(kind, RUNNERS)}")
    if kind != "rpc":
        if tracker or key:
            raise GraphoptError(f"--tracker and --key belong to --runner rpc, not to {kind}")
        return RunnerSpec(kind)
    if not tracker or not key:
        raise GraphoptError("--runner rpc needs --tracker HOST:PORT and --key KEY, those of your tracker")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
        raise GraphoptError(f"--key '{key}': expected letters, digits, '.', '_' and '-'")
    return RunnerSpec("rpc", parse_tracker(tracker), key, limit)


def parse_tracker(text: str) -> tuple[str, int]:
    """`HOST:PORT` as a pair."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise GraphoptError(f"--tracker '{text}': expected HOST:PORT, e.g. 192.168.0.10:9190")
    return host, int(port)


def _tune(
    pipeline: Pipeline, config: Path, target: Target, spec: RunnerSpec, budget: Any, engine_name: str, report: Any
) -> str:
    from graphopt.cost.cache import CostCache
    from graphopt.tuning.engine import find_engine
    from graphopt.tuning.tune import locked, make_plan, open_database, save_plan
    from graphopt.tuning.tune import tune as run_plan
    from graphopt.tuning.workload import space_workloads

    cache = CostCache(cache_folder() / "costs")
    engine = find_engine(engine_name)
    found = open_database(cache.folder / "tuning", target, spec)
    with locked(found):
        spec.open(
            target
        ).close()  # a runner that does not suit, or a tracker that is not there, is said before any work
        space = pipeline.open_space()
        workloads = space_workloads(
            space, target, pipeline.cleanups, cache, lambda share, words: report("workloads", min(share, 0.999), words)
        )
        report("workloads", 1.0, f"{len(workloads.found)} distinct kernels")
        plan = make_plan(workloads, budget, spec, workers=engine.workers)
        save_plan(plan, found, config.stem)
        watch = TuneWatch(report)
        for name, reason in workloads.refused.items():
            watch.note(f"{name} cannot be tuned, and is priced by its parts: {reason}")
        known = run_plan(workloads, plan, target, found, spec, engine, watch)
    report("tune", 1.0, watch.words())
    done = sum(known.trials(job.key) for job in plan.jobs)
    new = f"{watch.trials} new" if watch.trials else "nothing to do: all of them were there"
    return (
        f"{done} trials of {len(plan.jobs)} kernels ({new}), {plan.provenance}, in {found.path}\n"
        f"graphopt run and graphopt cost use them; graphopt tune {config} --target {target.name} --status lists them"
    )


BASES = {
    "measured": "measured over RPC",
    "tuned": "estimated of tuned schedules",
    "model": "estimated of TVM's default schedules",
    "parts": "estimated of their parts, because TVM cannot compile them whole",
}


def basis_ms(kernels: Sequence[KernelCost]) -> dict[str, float]:
    """The milliseconds that rest on each basis, where it is not the kernel model with TVM's default schedules alone."""
    times = {basis: sum(row.ms for row in kernels if row.basis == basis) for basis in BASES}
    return (
        {basis: time for basis, time in times.items() if time} if any(row.basis != "model" for row in kernels) else {}
    )


def bases(kernels: Sequence[KernelCost]) -> list[str]:
    """The same in words."""
    times = basis_ms(kernels)
    parts = [row.name for row in kernels if row.basis == "parts"]
    said = [", ".join(f"{time:.3f} ms {BASES[basis]}" for basis, time in times.items())] if times else []
    return [*said, *([f"priced by parts: {', '.join(parts)}"] if parts else [])]


def check_target(
    target: Annotated[str, typer.Argument(help="name of a target, or the path of its YAML")],
    tracker: Annotated[str | None, typer.Option(help="HOST:PORT of a TVM RPC tracker")] = None,
    key: Annotated[str | None, typer.Option(help="what the tracker calls the device, e.g. phone")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Says what this machine has, and lacks, to price, tune and build for a target, and what to do about it."""
    from graphopt.backends.check import check_target as check
    from graphopt.cost.target import load_target

    found = check(load_target(target), parse_tracker(tracker) if tracker else None, key)
    rows = [asdict(one) if one.state == "missing" else {**asdict(one), "do": ""} for one in found]
    if as_json:
        typer.echo(json.dumps({"target": target, "checks": rows}, indent=1))
        return
    print_table(rows, ("what", "state", "purpose", "found"))
    for row in rows:
        if row["state"] == "missing":
            typer.echo(f"{row['what']}: {row['do']}")


class TuneWatch:
    """Live progress: jobs, trials, the best so far, the time left. And a line for whatever the user should know."""

    def __init__(self, report: Callable[[str, float, str], None], clock: Callable[[], float] = time.monotonic):
        self._report, self._clock = report, clock
        self.trials = 0
        self._jobs = self._ended = 0
        self._work = self._worked = 0.0
        self._best: dict[str, float] = {}
        self._last = ""
        self._began = clock()
        self._plan: Plan | None = None

    def planned(self, plan: Plan, loaded: Loaded) -> None:
        left = {job.key: plan.left(job, loaded) for job in plan.jobs}
        self._plan, self._began = plan, self._clock()
        self._jobs, self._work = sum(amount > 0 for amount in left.values()), sum(left.values())
        for job in plan.jobs:
            best = loaded.best(job.key)
            if best is not None:
                self._best[job.key] = best.seconds
        self._report("tune", 0.0, f"{self._jobs} jobs, {plan.budget} in all, {plan.provenance}")

    def done(self, job: Planned, records: Sequence[Record], ended: bool) -> None:
        self.trials += len(records)
        self._ended += ended
        in_trials = self._plan is None or self._plan.budget.unit == "trials"
        self._worked += len(records) if in_trials else sum(record.spent_s for record in records)
        good = [record.seconds for record in records if record.run_secs]
        if good:
            self._best[job.key] = min([*good, self._best.get(job.key, float("inf"))])
        if job.key in self._best:
            self._last = f"{job.name}: best {1e6 * self._best[job.key]:.4g} us"
        self._report("tune", min(0.999, self._worked / max(self._work, 1e-9)), self.words())

    def note(self, line: str) -> None:
        typer.echo(f"note: {line}", err=True)

    def words(self) -> str:
        """`3/20 jobs, 24 trials, conv2d: best 31.5 us, 40 s left`."""
        said = [f"{self._ended}/{self._jobs} jobs", f"{self.trials} trials"]
        if self._last:
            said.append(self._last)
        if 0 < self._worked < self._work:
            left = (self._clock() - self._began) * (self._work - self._worked) / self._worked
            said.append(f"{left:.0f} s left" if left < 120 else f"{left / 60:.0f} min left")
        return ", ".join(said)


def _show_status(config: Path, target: Target, spec: RunnerSpec, as_json: bool) -> None:
    from graphopt.tuning.tune import is_locked, open_database, read_plan

    found = open_database(cache_folder() / "costs" / "tuning", target, spec)
    plan = read_plan(found, config.stem)
    if plan is None:
        raise GraphoptError(
            f"no tuning of {config} for {target.name} with --runner {spec.kind} has been started; the same command "
            "without --status starts one"
        )
    loaded, at_work = found.load(), is_locked(found)
    rows = [_row(number, job, plan, loaded, at_work) for number, job in enumerate(plan.jobs, 1)]
    if as_json:
        typer.echo(json.dumps({"budget": str(plan.budget), "runner": plan.runner, "jobs": rows}, indent=1))
        return
    print_table(rows, COLUMNS)
    states = [row["state"] for row in rows]
    tally = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    typer.echo(f"{plan.budget} with the {plan.runner} runner: {tally}; {'at work' if at_work else 'not at work'}")
    for name, reason in plan.refused.items():
        typer.echo(f"{name}: priced by its parts, TVM cannot compile it ({reason})")
    for version, count in sorted(loaded.foreign.items()):
        typer.echo(f"{count} trials of TVM {version} are not used: this is TVM {plan.tvm}")


def _row(number: int, job: Planned, plan: Plan, loaded: Loaded, at_work: bool) -> dict[str, Any]:
    best = loaded.best(job.key)
    trials = loaded.trials(job.key)
    unit = plan.budget.unit
    planned = (
        f"{trials}/{job.share:.0f}"
        if unit == "trials"
        else f"{trials} in {loaded.spent_s(job.key):.0f}/{job.share:.0f} s"
    )
    if plan.left(job, loaded) <= 0:
        state = "done" if best is not None or not trials else "failed"
        state = state if job.share else "no share"
    elif trials and best is None:
        state = "failed"
    elif at_work:
        state = "running" if trials else "waiting"
    else:
        state = "stopped" if trials else "waiting"
    return {
        "job": number,
        "kernel": job.name,
        "weight": f"{job.weight:.1%}",
        "trials": planned,
        "best us": f"{1e6 * best.seconds:.4g}" if best is not None else "-",
        "provenance": plan.provenance,
        "device": best.device if best is not None else None,
        "state": state,
    }
