"""The command line. Heavy libraries are imported inside the commands, so that --help answers at once."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from graphopt.cli import cost, leaderboard, models, passes, tune, verify
from graphopt.cli.terminal import JsonFlag, print_rows, progress
from graphopt.cost.cache import cache_folder
from graphopt.errors import GraphoptError

app = typer.Typer(
    help="Makes image-restoration networks faster by changing the network itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
targets_app = typer.Typer(help="The devices that networks are priced for.", no_args_is_help=True)
app.add_typer(passes.app, name="passes")
app.add_typer(targets_app, name="targets")
app.add_typer(models.app, name="models")

ModelOption = Annotated[
    str, typer.Option("--model", help="an ONNX file, a checkpoint, or the name of a shipped network")
]
SigmaOption = Annotated[
    float | None, typer.Option(min=0, help="standard deviation of the noise on the scale 0-255; 25, or the YAML file's")
]
TileOption = Annotated[
    int | None, typer.Option(min=16, help="larger images go through by overlapping tiles of this many pixels")
]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="the pipeline, a YAML file")],
    folder: Annotated[Path | None, typer.Option("--run", help="run folder; runs/NAME by default")] = None,
) -> None:
    """Runs a pipeline: from a pretrained network to a faster one, stage by stage. Goes on where it was stopped."""
    from graphopt.run.pipeline import open_pipeline

    with progress() as report:
        pipeline = open_pipeline(config, folder, cache_folder(), report)
        worked = pipeline.run()
    if pipeline.fabric is not None and not pipeline.fabric.is_global_zero:
        return
    typer.echo((pipeline.folder / "report" / "summary.txt").read_text())
    if not worked:
        typer.echo("Nothing to do: every stage was finished before, and nothing that they read has changed.")
    typer.echo(f"Network {pipeline.folder / 'model.onnx'}, report {pipeline.folder / 'report.html'}")


@app.command()
def pretrain(
    config: Annotated[Path, typer.Argument(help="network, photographs and length of the training, a YAML file")],
    images: Annotated[list[Path] | None, typer.Option(help="folder of photographs, in place of the file's")] = None,
    output: Annotated[Path | None, typer.Option(help="where the weights go, in place of the file's")] = None,
) -> None:
    """Trains a denoiser from scratch. Goes on where it was stopped."""
    from graphopt.config.reading import read_config
    from graphopt.config.training import PretrainConfig

    settings = read_config(config, PretrainConfig)
    if images and settings.data is not None:  # the noise stays as the file says
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"train": images})})
    elif images:
        settings = settings.model_copy(update={"images": images})
    if output:
        settings = settings.model_copy(update={"output": output})
    from graphopt.train.commands import pretrain_to_file

    with progress(announce=False) as report:
        speaks = pretrain_to_file(settings, partial(report, "pretrain"))
    if speaks:
        typer.echo(f"weights: {settings.output}")


@app.command()
def evaluate(
    model: ModelOption,
    data: Annotated[Path, typer.Option(help="folder of clean photographs, or a YAML file: judges on its data.test")],
    sigma: SigmaOption = None,
    channel: Annotated[Literal["rgb", "y"], typer.Option(help="compare all channels, or luma")] = "rgb",
    border: Annotated[int, typer.Option(min=0, help="pixels at each edge that are left out")] = 0,
    tile: TileOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Measures PSNR (dB) and SSIM on noisy photographs, with the same noise each time."""
    from graphopt.config.data import EvaluationData, JudgeConfig
    from graphopt.config.reading import read_config
    from graphopt.models.source import find_model
    from graphopt.train.metrics import View
    from graphopt.train.restorer import evaluate as judge
    from graphopt.train.restorer import open_restorer

    path, view = find_model(model, Path()), View(channel, border)
    judged: EvaluationData = EvaluationData(test=[data], sigma=25)
    if data.suffix in (".yaml", ".yml"):
        judged = read_config(data, JudgeConfig).data
    if sigma is not None:
        judged = EvaluationData(test=judged.test, sigma=sigma)
    restore = open_restorer(path, tile, 4 if judged.is_packed else 3)
    with progress(announce=False) as report:
        found = judge(restore, judged, partial(report, "evaluate"), view)
        noisy = judge(lambda image: image, judged, lambda share, words: None, view)
    if as_json:
        strength = judged.sigma if judged.noise == "gaussian" else None
        content = {"model": model, "data": str(data), "sigma": strength, "channel": channel, "border": border}
        typer.echo(
            json.dumps(
                {
                    **content,
                    "psnr": found.psnr,
                    "ssim": found.ssim,
                    "noisy": {"psnr": noisy.psnr, "ssim": noisy.ssim},
                    "provenance": "measured",
                }
            )
        )
    else:
        typer.echo(f"psnr {found.psnr:.3f} dB, ssim {found.ssim:.4f} (measured)")
        typer.echo(f"noisy input: psnr {noisy.psnr:.3f} dB, ssim {noisy.ssim:.4f}")


@app.command()
def denoise(
    source: Annotated[Path, typer.Argument(help="the noisy image")],
    destination: Annotated[Path, typer.Argument(help="where the restored image goes")],
    model: ModelOption = "nafnet-width8-sigma25",
    tile: TileOption = None,
) -> None:
    """Restores an image file of any size."""
    from graphopt.models.source import find_model
    from graphopt.train.data import read_image, to_planes, write_image
    from graphopt.train.restorer import open_restorer

    if destination.suffix.lower() not in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"):
        raise GraphoptError(f"cannot write {destination}: expected a name that ends in .png or .jpg")
    noisy = to_planes(read_image(source))
    write_image(destination, open_restorer(find_model(model, Path()), tile)(noisy))
    typer.echo(f"{destination}")


app.command()(cost.cost)
app.command()(leaderboard.leaderboard)
app.command()(passes.explain)
app.command()(verify.verify)
app.command()(tune.tune)


@targets_app.command("list")
def list_targets(as_json: JsonFlag = False) -> None:
    """Lists targets, and whether their prices are measured or estimated."""
    from graphopt.cost.target import list_targets as built_in

    rows = [
        {"name": t.name, "title": t.title, "kind": t.kind, "dtype": t.dtype, "provenance": t.provenance}
        for t in built_in()
    ]
    print_rows(rows, ("name", "title", "dtype", "provenance"), as_json)


targets_app.command("check")(tune.check_target)


def main() -> None:
    """Runs the command line; a GraphoptError becomes one message and exit status 1."""
    # torch's threads spin for milliseconds by default while they wait: on a busy machine each waits for one that waits
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        app()
    except GraphoptError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("stopped; what was finished is kept, and the same command goes on from there", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
