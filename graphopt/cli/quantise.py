"""`graphopt quantise`: a network whose convolutions compute in integers, and what that costs in PSNR."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphopt.cli.options import JsonFlag, ModelArgument, ResolutionOption
from graphopt.cli.terminal import progress
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    from graphopt.train.quantising import Outcome


def quantise(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(help="where the quantised network goes, an ONNX file")],
    data: Annotated[Path, typer.Option(help="folder of clean photographs: one of four judges, the others calibrate")],
    sigma: Annotated[float, typer.Option(min=0, help="standard deviation of the noise on the scale 0-255")] = 25,
    precision: Annotated[str, typer.Option(help="w8a8, or w8a16: bits of weights and of activations")] = "w8a8",
    device: Annotated[str, typer.Option(help="whose kernels it is for: cpu, or qnn (Qualcomm's NPU)")] = "cpu",
    resolution: ResolutionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Quantises a network after training, in QDQ form, and measures what it loses on photographs it has not seen.

    Ranges of activations are found in four ways, and the one is kept that gives most. Ops that the device does not
    compute in integers stay in float, and are named.
    """
    if output.suffix.lower() != ".onnx" or not output.parent.is_dir():
        raise GraphoptError(f"cannot write {output}: expected a name that ends in .onnx, in a folder that exists")
    import onnx

    from graphopt.atomic import replacing
    from graphopt.cost.cache import cache_folder
    from graphopt.ir.quantised import check_float
    from graphopt.models.source import find_model, load_source
    from graphopt.quantise.rules import find_rules
    from graphopt.train.data import Gaussian, open_photographs
    from graphopt.train.quantising import patches_of, quantise_on

    find_rules(device, precision)
    network, _ = load_source(find_model(model, Path()), resolution, cache_folder() / "exports")
    check_float(network, model, "quantising takes")
    patches = patches_of(network, open_photographs([data]), Gaussian(sigma, sigma), str(data))
    with progress(announce=False) as report:
        found = quantise_on(network, patches, precision, device, partial(report, "quantise"))
    with replacing(output) as temporary:
        onnx.save(found.quantised.model, temporary)
    if as_json:
        typer.echo(json.dumps(_as_json(model, output, precision, device, sigma, found), indent=1))
        return
    _print(output, precision, device, found)


def _print(output: Path, precision: str, device: str, found: Outcome) -> None:
    made, (seen, held_out) = found.quantised, found.patches
    typer.echo(f"{output}: {precision} for {device}, ranges by {made.method}")
    (whole, left), loss = found.held_out, found.loss
    typer.echo(f"psnr {whole:.3f} dB in float, {left:.3f} dB in {precision}: {-loss:+.3f} dB (measured)")
    typer.echo(f"  on {held_out} patches of photographs that no range was found on")
    typer.echo(f"  on the {seen} patches that ranges were found on: {-found.seen_loss:+.3f} dB (measured)")
    others = ", ".join(f"{name} {score - whole:+.3f} dB" for name, score in made.scores.items())
    typer.echo(f"  by method: {others} (measured)")
    if made.in_float:
        typer.echo(f"  in float: {_counted(made.in_float)}")
    if found.warning:
        typer.echo(f"warning: {found.warning}", err=True)


def _counted(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {op}" for op, count in ops.items())


def _as_json(model: str, output: Path, precision: str, device: str, sigma: float, found: Outcome) -> dict[str, Any]:
    made = found.quantised
    return {
        "model": model,
        "output": str(output),
        "precision": precision,
        "device": device,
        "sigma": sigma,
        "method": made.method,
        "psnr": {"float": found.held_out[0], "quantised": found.held_out[1], "patches": found.patches[1]},
        "psnr_seen": {"float": found.seen[0], "quantised": found.seen[1], "patches": found.patches[0]},
        "psnr_by_method": made.scores,
        "in_float": made.in_float,
        "has_few_images": made.has_few,
        "provenance": "measured",
    }
