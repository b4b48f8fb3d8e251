"""The whole command line. Commands import what they need when they are called, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from graphopt import __version__
from graphopt.cli import (
    cost,
    explain,
    images,
    leaderboard,
    measure,
    models,
    passes,
    quantise,
    run,
    targets,
    train,
    tune,
    verify,
)
from graphopt.errors import GraphoptError

app = typer.Typer(
    help="Makes image-restoration networks faster by changing the network itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"graphopt {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """The options that need no command."""


for command in (
    run.run, train.pretrain, images.evaluate, images.denoise, cost.cost, leaderboard.leaderboard, explain.explain,
    verify.verify, tune.tune, measure.measure, quantise.quantise,
):  # fmt: skip
    app.command()(command)
for name, group in (("passes", passes.app), ("targets", targets.app), ("models", models.app)):
    app.add_typer(group, name=name)


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
