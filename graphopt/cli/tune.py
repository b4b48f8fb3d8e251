"""`graphopt tune`: the kernels of a space, tuned for a target, with live progress, a status and a resume."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.options import FolderOption, JsonFlag, KeyOption, PipelineArgument, TargetOption, TrackerOption
from graphopt.cli.terminal import print_table, progress

if TYPE_CHECKING:
    from graphopt.tuning.status import Status

COLUMNS = ("job", "kernel", "weight", "trials", "best us", "provenance", "state")


def tune(
    config: PipelineArgument,
    target: TargetOption,
    budget: Annotated[
        str, typer.Option(help="in all, split by each kernel's weight: '500 trials' or '10 minutes'")
    ] = "256 trials",
    runner: Annotated[
        str | None, typer.Option(help="local (this CPU), rpc (devices at a tracker) or static (the kernel model)")
    ] = None,
    tracker: TrackerOption = None,
    key: KeyOption = None,
    engine: Annotated[str, typer.Option(help="local (this process) or ray (a Ray cluster)")] = "local",
    limit: Annotated[int, typer.Option(min=1, help="seconds that a device may take for one trial")] = 30,
    status: Annotated[bool, typer.Option("--status", help="show the jobs, and how far they are")] = False,
    folder: FolderOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tunes the kernels of a network and of all its candidates. Goes on where it was stopped; later runs use it."""
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.tuning.budget import parse_budget

    allowed = parse_budget(budget)
    with progress() as report:
        from graphopt.backends.targets import load_target
        from graphopt.run.pipeline import open_pipeline
        from graphopt.tuning.engine import find_engine
        from graphopt.tuning.runners import choose_runner, tunable
        from graphopt.tuning.status import tuning_status
        from graphopt.tuning.tune_space import tune_space

        pipeline = open_pipeline(config, folder, cache_folder(), report)
        opened = pipeline.opened
        device = tunable(opened.targets.get(target) or load_target(target))
        spec = choose_runner(runner or ("rpc" if tracker else device.runner), tracker, key, limit)
        cache = CostCache(cache_folder() / "costs")
        if not status:
            done = tune_space(
                config.stem, pipeline.open_space, opened.cleanups, device, cache, allowed, spec, find_engine(engine),
                report, lambda line: typer.echo(f"note: {line}", err=True),
            )  # fmt: skip
    if status:
        _print(tuning_status(config, device, spec, cache.folder / "tuning"), as_json)
        return
    new = f"{done.new} new" if done.new else "nothing to do: all of them were there"
    typer.echo(f"{done.trials} trials of {done.kernels} kernels ({new}), {done.provenance}, in {done.path}")
    typer.echo(
        f"graphopt run and graphopt cost use them; graphopt tune {config} --target {device.name} --status lists them"
    )


def _print(found: Status, as_json: bool) -> None:
    plan = found.plan
    if as_json:
        typer.echo(json.dumps({"budget": str(plan.budget), "runner": plan.runner, "jobs": found.rows}, indent=1))
        return
    print_table(found.rows, COLUMNS)
    states = [row["state"] for row in found.rows]
    tally = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    at_work = "at work" if found.at_work else "not at work"
    typer.echo(f"{plan.budget} with the {plan.runner} runner: {tally}; {at_work}")
    for name, reason in plan.refused.items():
        typer.echo(f"{name}: priced by its parts, TVM cannot compile it ({reason})")
    for version, count in found.foreign.items():
        typer.echo(f"{count} trials of TVM {version} are not used: this is TVM {plan.tvm}")
