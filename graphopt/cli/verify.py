"""`graphopt verify`: does the OpenCL artefact that a run leaves compute its network?"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.options import JsonFlag, ModelArgument, ResolutionOption
from graphopt.cli.terminal import print_table, progress
from graphopt.errors import GraphoptError
from graphopt.progress import Progress

if TYPE_CHECKING:
    import onnx

    from graphopt.kernels.target import GpuTarget


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
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import cache_folder
    from graphopt.kernels.target import GpuTarget
    from graphopt.models.source import find_model, load_source

    device = load_target(target)
    if not isinstance(device, GpuTarget):
        raise GraphoptError(
            f"target {device.name} has no OpenCL kernels; name an OpenCL target (graphopt targets list)"
        )
    if artefact is not None and trials:
        raise GraphoptError("--trials draws schedules for a new build; an artefact has its own: leave one of them out")
    path = find_model(model, Path())
    from graphopt.backends.opencl.plan import read_artefact
    from graphopt.backends.opencl.platform import Device
    from graphopt.backends.opencl.verify import check_artefact

    runner = Device()
    canonical, _ = load_source(path, resolution, cache_folder() / "exports")
    with progress(announce=False) as report, tempfile.TemporaryDirectory() as folder:
        say = partial(report, "verify")
        source = artefact or _built(canonical, device, trials, Path(folder), say)
        kernels, whole = check_artefact(read_artefact(source), canonical, device, runner, say)
    if as_json:
        rows = [asdict(kernel) for kernel in kernels]
        content = {"target": device.name, "platform": runner.name, "difference": whole, "kernels": rows}
        typer.echo(json.dumps(content, indent=1))
        return
    print_table(
        [{**asdict(kernel), "difference": f"{kernel.difference:.1e}"} for kernel in kernels],
        ("name", "kind", "calls", "difference"),
    )
    arithmetic = "float16" if runner.halves and device.dtype == "float16" else "float32"
    typer.echo(
        f"{source.name}: {len(kernels)} functions, run in {arithmetic} on {runner.name}: each agrees with LLVM, "
        f"and the whole network with onnxruntime (largest relative difference {whole:.1e}). This says nothing "
        "about speed."
    )


def _built(model: onnx.ModelProto, target: GpuTarget, trials: int, folder: Path, say: Progress) -> Path:
    from graphopt.backends.opencl.build import build, build_under
    from graphopt.cost.cache import CostCache, cache_folder

    if not trials:
        return build(model, target, folder, CostCache(cache_folder() / "costs"))[0]
    from graphopt.backends.opencl.drawn_schedules import drawn_records

    records = drawn_records(model, target, trials, CostCache(folder / "cache"), say)
    return build_under(model, target, folder, records.get)[0]
