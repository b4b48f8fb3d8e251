"""`graphopt models`: the networks that graphopt ships or can build, and a network as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphopt.atomic import replacing
from graphopt.cli.terminal import JsonFlag, print_rows
from graphopt.errors import GraphoptError
from graphopt.models.shipped import SHIPPED
from graphopt.models.zoo import NETWORKS, find_entry

CHECKPOINTS = (".pth", ".pt", ".safetensors")
app = typer.Typer(help="The networks that ship with graphopt, and those it can build.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """Lists the pretrained networks that come with graphopt, and the published ones that it builds."""
    rows: list[dict[str, Any]] = [
        {"name": m.name, "title": m.title, "weights": f"pretrained, {m.noise}", "sigma": list(m.sigma),
         "path": str(m.path), "source": NETWORKS["nafnet-width32"].source, "ours": ""}
        for m in SHIPPED.values()
    ]  # fmt: skip
    rows += [
        {"name": e.name, "title": e.title, "weights": "untrained", "sigma": None, "path": None, "source": e.source,
         "ours": e.reading}
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
    is_file = Path(name).suffix.lower() in CHECKPOINTS
    if not is_file:
        find_entry(name)
    elif weights is not None:
        raise GraphoptError(f"{name} holds weights of its own; leave out --weights")
    if output.suffix.lower() != ".onnx":
        raise GraphoptError(f"cannot write {output}: expected a name that ends in .onnx")
    if not output.parent.is_dir():
        raise GraphoptError(f"cannot write {output}: the folder {output.parent} does not exist")
    import onnx

    from graphopt.models.checkpoints import load_checkpoint, load_weights
    from graphopt.models.source import check_export, export_network, parse_size
    from graphopt.models.specialised import Specialised
    from graphopt.models.specialised_export import export_specialised
    from graphopt.models.zoo import build_random

    height, width = parse_size(size)
    network = load_checkpoint(Path(name)) if is_file else build_random(name, seed).eval()
    if weights is not None:
        load_weights(network, None, weights)
    if isinstance(network, Specialised):
        models, difference = export_specialised(network, (height, width), name)
    else:
        models = {"": export_network(network, (height, width))}
        difference = check_export(network, models[""], name)
    files = {output.with_suffix(f".{part}.onnx" if part else ".onnx"): model for part, model in models.items()}
    for path, model in files.items():
        with replacing(path) as temporary:
            onnx.save(model, temporary)
    count = sum(parameter.numel() for parameter in network.parameters())
    typer.echo(f"{output}: {name}, {count:,} parameters, differs from torch by {difference:.1e} (relative)")
    if len(files) > 1:
        typer.echo(f"  its parts: {', '.join(path.name for path in list(files)[1:])}")
    stride = network.config.stride
    if height % stride or width % stride:
        padded = f"{width + -width % stride}x{height + -height % stride}"
        typer.echo(f"  {size} is no multiple of its stride {stride}: it pads to {padded} with zeros, and crops back")
