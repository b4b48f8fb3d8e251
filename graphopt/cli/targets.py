"""`graphopt targets`: the devices that networks are priced for, and what this machine lacks for one of them."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from graphopt.cli.options import JsonFlag, KeyOption, TargetArgument, TrackerOption
from graphopt.cli.terminal import print_rows, print_table

app = typer.Typer(help="The devices that networks are priced for.", no_args_is_help=True)


@app.command("list")
def list_targets(as_json: JsonFlag = False) -> None:
    """Lists targets, and whether their prices are measured or estimated."""
    from graphopt.backends.registry import backend_class
    from graphopt.backends.targets import list_targets as built_in

    rows = [
        {
            "name": t.name,
            "title": t.title,
            "kind": t.kind,
            "precision": t.precision,
            "provenance": backend_class(t.kind).provenance,
        }
        for t in built_in()
    ]
    print_rows(rows, ("name", "title", "precision", "provenance"), as_json)


@app.command("check")
def check_target(
    target: TargetArgument, tracker: TrackerOption = None, key: KeyOption = None, as_json: JsonFlag = False
) -> None:
    """Says what this machine has, and lacks, to price, tune and build for a target, and what to do about it."""
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.tuning.tracker import parse_tracker

    backend = open_backend(load_target(target), CostCache(cache_folder() / "costs"))
    found = backend.check(parse_tracker(tracker) if tracker else None, key)
    rows = [asdict(one) if one.state == "missing" else {**asdict(one), "do": ""} for one in found]
    if as_json:
        typer.echo(json.dumps({"target": target, "checks": rows}, indent=1))
        return
    print_table(rows, ("what", "state", "purpose", "found"))
    for row in rows:
        if row["state"] == "missing":
            typer.echo(f"{row['what']}: {row['do']}")
