"""`graphopt explain`: where a pass fits into a network, and where it nearly does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphopt.cli.options import JsonFlag, ModelArgument, PassOptions, ResolutionOption, parse_options
from graphopt.cli.passes import load_graph
from graphopt.cli.terminal import count

if TYPE_CHECKING:
    from graphopt.ir.explain import Explanation


def explain(
    model: ModelArgument,
    name: Annotated[str, typer.Option("--pass", help="name of a pass, or the path of its .py")],
    option: PassOptions = None,
    resolution: ResolutionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Shows every site of a pass in a network, and what did not fit where it nearly has one."""
    from graphopt.ir.explain import explain as explain_pass
    from graphopt.ir.registry import load_pass

    rule = load_pass(name, parse_options(option or ()), Path())
    found = explain_pass(rule, load_graph(model, resolution))
    if as_json:
        typer.echo(json.dumps({"pass": rule.name, "model": model, **_as_json(found)}, indent=1))
        return
    typer.echo(f"{rule.name} in {model}: {count(len(found.sites), 'site')}")
    for site in found.sites:
        typer.echo(f"  {site.name}: {count(len(site.nodes), 'node')}, {site.nodes[0]} to {site.nodes[-1]}")
    if found.refused:
        typer.echo(f"{len(found.refused)} refused, where a pattern fits all the same")
    for where, reason in found.refused:
        typer.echo(f"  {where}: {reason}")
    if found.near:
        typer.echo(f"{count(len(found.near), 'near-match', 'near-matches')}, the nearest first")
    for near in found.near:
        fitted = f"{near.fitted} of {count(near.size, 'node')} of {near.pattern} fit"
        typer.echo(f"  {near.anchor}: {fitted}")
        typer.echo(f"      at {near.node}, {near.part}: expected {near.expected}, found {near.found}")


def _as_json(found: Explanation) -> dict[str, Any]:
    refused = [{"where": where, "reason": reason} for where, reason in found.refused]
    return {
        "sites": [asdict(site) for site in found.sites],
        "refused": refused,
        "near": [asdict(near) for near in found.near],
    }
