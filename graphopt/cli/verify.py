"""`graphopt verify`: does the OpenCL artefact that a run leaves compute its network?"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli.options import JsonFlag, ModelArgument, ResolutionOption
from graphopt.cli.terminal import print_table, progress
from graphopt.errors import GraphoptError


def verify(
    model: ModelArgument,
    target: Annotated[str, typer.Option(help="name of an OpenCL target, or the path of its YAML")],
    resolution: ResolutionOption = None,
    trials: Annotated[int, typer.Option(min=0, help="build the best of so many schedules that tuning draws")] = 0,
    artefact: Annotated[Path | None, typer.Option(help="the .cl file of an earlier run (default: builds one)")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Builds a network's OpenCL file as a run does, and runs it on this machine (PoCL needs no GPU), each kernel beside
    LLVM, and the network beside onnxruntime.
    """
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.models.source import find_model, load_source

    backend = open_backend(load_target(target), CostCache(cache_folder() / "costs"))
    if artefact is not None and trials:
        raise GraphoptError("--trials draws schedules for a new build; an artefact has its own: leave one of them out")
    canonical, _ = load_source(find_model(model, Path()), resolution, cache_folder() / "exports")
    with progress(announce=False) as report:
        found = backend.verify(canonical, artefact, trials, partial(report, "verify"))
    if as_json:
        rows = [asdict(kernel) for kernel in found.kernels]
        about = {"target": backend.target.name, "platform": found.platform, "difference": found.difference}
        typer.echo(json.dumps({**about, "kernels": rows}, indent=1))
        return
    print_table(
        [{**asdict(kernel), "difference": f"{kernel.difference:.1e}"} for kernel in found.kernels],
        ("name", "kind", "calls", "difference"),
    )
    typer.echo(
        f"{found.file}: {len(found.kernels)} functions, run in {found.arithmetic} on {found.platform}: each agrees "
        f"with LLVM, and the whole network with onnxruntime (largest relative difference {found.difference:.1e}). This "
        "says nothing about speed."
    )
