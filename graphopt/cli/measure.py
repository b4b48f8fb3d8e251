"""`graphopt measure`: a bundle on a real device."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.options import JsonFlag
from graphopt.cli.terminal import progress

if TYPE_CHECKING:
    from graphopt.bundle.manifest import Figure
    from graphopt.cost.measured import Measured


def measure(
    bundle: Annotated[Path, typer.Argument(help="folder of a bundle: deploy/TARGET of a run folder")],
    device: Annotated[str, typer.Option(help="ssh://user@board, adb:SERIAL or aihub:NAME")],
    runs: Annotated[int, typer.Option(min=5, help="timed runs")] = 30,
    threads: Annotated[int | None, typer.Option(min=1, help="of the CPU; the target's own by default")] = None,
    limit: Annotated[float, typer.Option(min=1, help="seconds that the device may take, all in all")] = 600.0,
    python: Annotated[str, typer.Option(help="the Python of a board that has the runtime")] = "python3",
    as_json: JsonFlag = False,
) -> None:
    """Measures a bundle on a board, a phone or a farm: latency with its interval, and memory.

    What comes back is kept, shown beside the estimate by graphopt cost, and written into the bundle's manifest.
    """
    from graphopt.bundle.bundle import Bundle
    from graphopt.cost.cache import cache_folder
    from graphopt.devices.base import Request
    from graphopt.devices.find import find_device
    from graphopt.devices.measure import measure_bundle

    there = find_device(device)
    opened = Bundle.open(bundle)
    own = threads if threads is not None else int(getattr(opened.target, "threads", 1))
    command = f"graphopt measure {shlex.quote(str(bundle))} --device {shlex.quote(device)} --runs {runs}"
    command += f" --threads {threads}" if threads else ""
    with progress(announce=False) as report:
        request = Request(runs, own, limit, python)
        row = measure_bundle(opened, there, request, command, cache_folder(), partial(report, "measure"))
    estimates = [figure for figure in opened.manifest.figures if _is_estimate(figure)]
    if as_json:
        said = [figure.model_dump(mode="json") for figure in estimates]
        typer.echo(json.dumps({**row.to_dict(), "estimates": said}, indent=1))
    else:
        _print(row, estimates)


def _is_estimate(figure: Figure) -> bool:
    return figure.provenance == "estimated" and figure.what in ("latency", "peak memory")


def _print(row: Measured, estimates: list[Figure]) -> None:
    found = row.reading
    typer.echo(f"{row.target}: {row}")
    if found.peak_memory_bytes is not None:
        typer.echo(f"  {found.peak_memory_bytes / 2**20:.1f} MiB above idle at the peak (measured)")
    if found.units:
        typer.echo(f"  layers: {', '.join(f'{share:.0%} on {unit}' for unit, share in found.units.items())} (measured)")
    for figure in estimates:
        if figure.what == "latency":
            spread = "" if figure.low is None else f", {figure.low:.3g} to {figure.high:.3g} ms"
            typer.echo(f"  {figure.value:.3f} ms (estimated{spread})")
        else:
            typer.echo(f"  {figure.value / 2**20:.1f} MiB at the peak (estimated)")
