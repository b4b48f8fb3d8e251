"""`graphopt models`: the networks that graphopt ships or can build, and a network as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphopt.cli.options import JsonFlag
from graphopt.cli.terminal import print_rows

app = typer.Typer(help="The networks that ship with graphopt, and those it can build.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """Lists the pretrained networks that come with graphopt, and the published ones that it builds."""
    from graphopt.models.shipped import SHIPPED
    from graphopt.models.zoo import NETWORKS

    rows: list[dict[str, Any]] = [
        {"name": m.name, "title": m.title, "weights": m.weights, "sigma": list(m.sigma),
         "precision": m.precision, "path": str(m.path), "source": NETWORKS["nafnet-width32"].source, "ours": ""}
        for m in SHIPPED.values()
    ]  # fmt: skip
    rows += [
        {"name": e.name, "title": e.title, "weights": "untrained", "sigma": None, "precision": "fp32", "path": None,
         "source": e.source, "ours": e.reading}
        for e in NETWORKS.values()
    ]  # fmt: skip
    print_rows(rows, ("name", "title", "weights"), as_json)


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="a published network, by its name, or a checkpoint, by its path")],
    output: Annotated[Path, typer.Argument(help="the ONNX file to write")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the image")] = "256x256",
    weights: Annotated[Path | None, typer.Option(help="a checkpoint of that network; random without it")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the random weights")] = 0,
) -> None:
    """Writes a network as ONNX, checked against torch.

    Of networks specialised by noise, OUTPUT chooses among all; beside it, each lies in a file of its own.
    """
    from graphopt.models.export import export_to_files

    made = export_to_files(name, output, size, weights, seed)
    typer.echo(
        f"{output}: {name}, {made.parameters:,} parameters, differs from torch by {made.difference:.1e} (relative)"
    )
    if len(made.files) > 1:
        typer.echo(f"  its parts: {', '.join(path.name for path in made.files[1:])}")
    if made.padded is not None:
        padded = f"{made.padded[1]}x{made.padded[0]}"
        typer.echo(
            f"  {size} is no multiple of its stride {made.stride}: it pads to {padded} with zeros, and crops back"
        )
