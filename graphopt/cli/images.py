"""What a network makes of images: `graphopt evaluate` judges it on many, `graphopt denoise` restores one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from graphopt.cli.options import JsonFlag, RestorerOption
from graphopt.cli.terminal import progress
from graphopt.progress import Progress, silent

if TYPE_CHECKING:
    from graphopt.train.restorer import Restore

TileOption = Annotated[
    int | None, typer.Option("--tile", min=16, help="larger images go through by overlapping tiles of this many pixels")
]


def evaluate(
    model: RestorerOption,
    data: Annotated[Path, typer.Option(help="folder of clean photographs, or a YAML file: judges on its data.test")],
    sigma: Annotated[
        float | None,
        typer.Option(min=0, help="standard deviation of the noise on the scale 0-255; 25, or the YAML file's"),
    ] = None,
    channel: Annotated[Literal["rgb", "y"], typer.Option(help="compare all channels, or luma")] = "rgb",
    border: Annotated[int, typer.Option(min=0, help="pixels at each edge that are left out")] = 0,
    tile: TileOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Measures PSNR (dB) and SSIM on noisy photographs, with the same noise each time."""
    from graphopt.config.judged import read_judged
    from graphopt.train.metrics import View
    from graphopt.train.restorer import evaluate as judge

    view, judged = View(channel, border), read_judged(data, sigma)
    restore = _opened(model, tile, 4 if judged.is_packed else 3)
    with progress(announce=False) as report:
        found = judge(restore, judged, partial(report, "evaluate"), view)
        noisy = judge(lambda image: image, judged, lambda share, words: None, view)
    if not as_json:
        typer.echo(f"psnr {found.psnr:.3f} dB, ssim {found.ssim:.4f} (measured)")
        typer.echo(f"noisy input: psnr {noisy.psnr:.3f} dB, ssim {noisy.ssim:.4f}")
        return
    content = {
        "model": model,
        "data": str(data),
        "sigma": judged.sigma if judged.noise == "gaussian" else None,
        "channel": channel,
        "border": border,
        "psnr": found.psnr,
        "ssim": found.ssim,
        "noisy": {"psnr": noisy.psnr, "ssim": noisy.ssim},
        "provenance": "measured",
    }
    typer.echo(json.dumps(content))


def denoise(
    source: Annotated[Path, typer.Argument(help="the noisy image")],
    destination: Annotated[Path, typer.Argument(help="where the restored image goes")],
    model: RestorerOption = "nafnet-width8-sigma25",
    tile: TileOption = None,
) -> None:
    """Restores an image file of any size."""
    from graphopt.train.data import check_image_name, read_image, to_planes, write_image

    check_image_name(destination)
    noisy = to_planes(read_image(source))
    with progress(announce=False) as report:
        found = _opened(model, tile, say=partial(report, "denoise"))(noisy)
    write_image(destination, found)
    typer.echo(f"{destination}")


def _opened(model: str, tile: int | None, channels: int = 3, say: Progress = silent) -> Restore:
    """A network by name or path, or the artefact of a bundle, which has tiles of its own."""
    from graphopt.bundle.restore import open_bundle
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.models.source import find_model
    from graphopt.train.restorer import open_restorer

    if Path(model).is_dir():
        return open_bundle(Path(model), CostCache(cache_folder() / "costs"), tile, channels, say)
    return open_restorer(find_model(model, Path()), tile, channels, say)
