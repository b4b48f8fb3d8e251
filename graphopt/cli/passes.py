"""The commands for those who write passes: `graphopt explain`, and `graphopt passes list`, `new` and `check`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from graphopt.cli.terminal import JsonFlag, print_table
from graphopt.cost.cache import cache_folder
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from graphopt.ir.explain import Explanation

app = typer.Typer(help="The passes that rewrite networks.", no_args_is_help=True)
CHECKED = (64, 64)  # height and width at which passes see a checkpoint: small, and quick
ResolutionOption = Annotated[tuple[int, int] | None, typer.Option(help="height and width of the image")]
OptionOption = Annotated[list[str] | None, typer.Option("--option", help="KEY=VALUE, as in YAML; may be repeated")]


@app.command("list")
def list_passes(as_json: JsonFlag = False) -> None:
    """Lists passes with their contract, their stage and their options."""
    from graphopt.ir.registry import describe_passes

    rows = describe_passes()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        options = ", ".join(f"{key}={value!r}" for key, value in row["options"].items())
        typer.echo(f"{row['name']:<20} {row['stage']:<8} {row['contract']:<12} {options}")
        typer.echo(f"    {row['summary']}")


@app.command("new")
def new_pass(path: Annotated[Path, typer.Argument(help="the file to write, e.g. my_pass.py")]) -> None:
    """Writes a pass to start from, and its test beside it. Both work as they are."""
    from graphopt.authoring.skeleton import write_skeleton

    for written in write_skeleton(path):
        typer.echo(str(written))
    typer.echo(f"next: graphopt passes check {path}")


@app.command("check")
def check_one(
    name: Annotated[str, typer.Argument(metavar="PASS", help="the path of a pass, or the name of one")],
    model: Annotated[
        str, typer.Option("--model", help="an ONNX file, a checkpoint, or the name of a shipped network")
    ] = "nafnet-width8-sigma25",
    option: OptionOption = None,
    resolution: ResolutionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs a pass at all its sites in a network, and checks what it promises. Random images, the same each time."""
    from graphopt.ir.registry import load_pass

    rule = load_pass(name, parse_options(option or ()), Path())
    graph = load_graph(model, resolution)
    from graphopt.authoring.passcheck import check_pass, random_images

    found = check_pass(rule, graph, random_images(graph.inputs[0].shape))
    rows = [
        {
            "site": row.site,
            "contract": str(rule.contract),
            "difference": row.difference if row.difference == row.difference else None,  # JSON knows no NaN
            "verdict": "fails" if row.problem else "ok",
            "problem": row.problem,
        }
        for row in found.rows
    ]
    if as_json:
        typer.echo(json.dumps({"pass": rule.name, "model": model, "checks": rows}, indent=1))
    else:
        cells = [{**row, "difference": _scientific(row["difference"])} for row in rows]
        print_table(cells, ("site", "contract", "difference", "verdict"))
    if found.problems:
        others = f" ({len(found.problems)} of {_count(len(rows), 'check')} fail)" if len(found.problems) > 1 else ""
        raise GraphoptError(found.problems[0] + others)
    if not as_json:
        typer.echo(f"{rule.name}: {_count(len(found.rows) - 1, 'site')}, every check passes")


def explain(
    model: Annotated[str, typer.Argument(help="an ONNX file, a checkpoint, or the name of a shipped network")],
    name: Annotated[str, typer.Option("--pass", help="name of a pass, or the path of its .py")],
    option: OptionOption = None,
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
    typer.echo(f"{rule.name} in {model}: {_count(len(found.sites), 'site')}")
    for site in found.sites:
        typer.echo(f"  {site.name}: {_count(len(site.nodes), 'node')}, {site.nodes[0]} to {site.nodes[-1]}")
    if found.refused:
        typer.echo(f"{len(found.refused)} refused, where a pattern fits all the same")
    for where, reason in found.refused:
        typer.echo(f"  {where}: {reason}")
    if found.near:
        typer.echo(f"{_count(len(found.near), 'near-match', 'near-matches')}, the nearest first")
    for near in found.near:
        fitted = f"{near.fitted} of {_count(near.size, 'node')} of {near.pattern} fit"
        typer.echo(f"  {near.anchor}: {fitted}")
        typer.echo(f"      at {near.node}, {near.part}: expected {near.expected}, found {near.found}")


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """`["share=0.25"]` -> `{"share": 0.25}`; values are read as YAML."""
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise GraphoptError(f"option '{text}': expected KEY=VALUE, e.g. --option share=0.25")
        if key in options:
            raise GraphoptError(f"option '{key}' is given twice; keep one of them")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise GraphoptError(f"option '{text}': the value is not valid YAML") from error
    return options


def load_graph(model: str, resolution: tuple[int, int] | None) -> gs.Graph:
    """The canonical graph of a shipped network, a checkpoint (small, unless told otherwise) or an ONNX file."""
    from graphopt.ir.canonical import to_graph
    from graphopt.models.source import find_model, load_source

    path = find_model(model, Path())
    size = resolution or (None if path.suffix.lower() == ".onnx" else CHECKED)
    canonical, _ = load_source(path, size, cache_folder() / "exports")
    return to_graph(canonical)


def _as_json(found: Explanation) -> dict[str, Any]:
    refused = [{"where": where, "reason": reason} for where, reason in found.refused]
    return {
        "sites": [asdict(site) for site in found.sites],
        "refused": refused,
        "near": [asdict(near) for near in found.near],
    }


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _scientific(number: Any) -> str:
    return "-" if number is None else f"{number:.1e}"
