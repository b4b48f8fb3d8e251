"""`graphopt run`: a pipeline, from a pretrained network to a faster one."""

from __future__ import annotations

import typer

from graphopt.cli.options import FolderOption, PipelineArgument
from graphopt.cli.terminal import progress


def run(config: PipelineArgument, folder: FolderOption = None) -> None:
    """Runs a pipeline: from a pretrained network to a faster one, stage by stage. Goes on where it was stopped."""
    from graphopt.cost.cache import cache_folder
    from graphopt.run.pipeline import open_pipeline

    with progress() as report:
        pipeline = open_pipeline(config, folder, cache_folder(), report)
        worked = pipeline.run()
    fabric, files = pipeline.opened.fabric, pipeline.opened.folder
    if fabric is not None and not fabric.is_global_zero:
        return
    typer.echo(files.summary.read_text())
    deployed = files.deployed.read()
    if deployed.half:
        typer.echo(f"warning: {deployed.half}", err=True)
    for target, reason in deployed.refusals.items():
        typer.echo(f"{target} has no artefact: {reason}")
    for ran in deployed.ran.values():
        if ran.why_not:
            typer.echo(f"{ran.file}: {ran.why_not}")
    if not worked:
        typer.echo("Nothing to do: every stage was finished before, and nothing that they read has changed.")
    typer.echo(f"Network {files.model.path}, report {files.page}")
