"""`graphopt pretrain`: trains a denoiser from scratch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli.terminal import progress


def pretrain(
    config: Annotated[Path, typer.Argument(help="network, photographs and length of the training, a YAML file")],
    images: Annotated[list[Path] | None, typer.Option(help="folder of photographs, in place of the file's")] = None,
    output: Annotated[Path | None, typer.Option(help="where the weights go, in place of the file's")] = None,
) -> None:
    """Trains a denoiser from scratch. Goes on where it was stopped."""
    from graphopt.config.reading import read_config
    from graphopt.config.training import PretrainConfig

    settings = read_config(config, PretrainConfig).replacing(images, output)
    from graphopt.train.commands import pretrain_to_file

    with progress(announce=False) as report:
        speaks = pretrain_to_file(settings, partial(report, "pretrain"))
    if speaks:
        typer.echo(f"weights: {settings.output}")
