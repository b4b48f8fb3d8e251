"""`graphopt passes`: what there is, a pass to start from, and a check of what a pass promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphopt.cli.options import JsonFlag, ModelOption, PassOptions, ResolutionOption, parse_options
from graphopt.cli.terminal import count, print_table
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

app = typer.Typer(help="The passes that rewrite networks.", no_args_is_help=True)
CHECKED = (64, 64)  # height and width at which passes see a checkpoint: small, and quick


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
    model: ModelOption = "nafnet-width8-sigma25",
    option: PassOptions = None,
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
        others = f" ({len(found.problems)} of {count(len(rows), 'check')} fail)" if len(found.problems) > 1 else ""
        raise GraphoptError(found.problems[0] + others)
    if not as_json:
        typer.echo(f"{rule.name}: {count(len(found.rows) - 1, 'site')}, every check passes")


def load_graph(model: str, resolution: tuple[int, int] | None) -> gs.Graph:
    """The canonical graph of a shipped network, a checkpoint (small, unless told otherwise) or an ONNX file."""
    from graphopt.cost.cache import cache_folder
    from graphopt.ir.canonical import to_graph
    from graphopt.ir.quantised import check_float
    from graphopt.models.source import find_model, load_source

    path = find_model(model, Path())
    size = resolution or (None if path.suffix.lower() == ".onnx" else CHECKED)
    canonical, _ = load_source(path, size, cache_folder() / "exports")
    check_float(canonical, str(path), "passes take")
    return to_graph(canonical)


def _scientific(number: Any) -> str:
    return "-" if number is None else f"{number:.1e}"
