"""`graphopt verify`: do the kernels that are priced for a phone's GPU compute the network?"""

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
    trials: Annotated[int, typer.Option(min=0, help="check the best of so many schedules that tuning draws")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Runs every OpenCL kernel of a network on this machine (PoCL needs no GPU), beside LLVM and onnxruntime."""
    from graphopt.cost.cache import cache_folder
    from graphopt.cost.target import load_target
    from graphopt.models.source import find_model, load_source

    device = load_target(target)
    if device.kind != "opencl":
        raise GraphoptError(
            f"target {device.name} has no OpenCL kernels; name an OpenCL target (graphopt targets list)"
        )
    path = find_model(model, Path())
    from graphopt.backends.opencl.platform import Device
    from graphopt.backends.opencl.verify import check_network

    runner = Device()
    canonical, _ = load_source(path, resolution, cache_folder() / "exports")
    with progress(announce=False) as report:
        kernels, whole = check_network(canonical, device, runner, partial(report, "verify"), trials)
    if as_json:
        rows = [asdict(kernel) for kernel in kernels]
        content = {"target": device.name, "platform": runner.name, "difference": whole, "kernels": rows}
        typer.echo(json.dumps(content, indent=1))
        return
    print_table(
        [{**asdict(kernel), "difference": f"{kernel.difference:.1e}"} for kernel in kernels],
        ("name", "kind", "calls", "difference"),
    )
    typer.echo(
        f"{len(kernels)} kernels for {device.name}, in float32 on {runner.name}: each agrees with LLVM, and the whole "
        f"network with onnxruntime (largest relative difference {whole:.1e}). This says nothing about speed."
    )
