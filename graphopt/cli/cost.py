"""`graphopt cost`: what a network, or single operators, cost on a device, and where the time goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphopt.cli.measured import Known, known_as_json, known_of, print_known
from graphopt.cli.options import A_MODEL, A_TARGET, JsonFlag, ResolutionOption
from graphopt.cli.terminal import print_table, progress
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    import onnx

    from graphopt.backends.base import Backend
    from graphopt.backends.breakdown import Breakdown, Part
    from graphopt.cost.record import NetworkCost
    from graphopt.cost.target import Target


_MADE = "quantised on a random image, for the price alone"


def cost(
    target: Annotated[list[str], typer.Option(help=f"{A_TARGET}; may be repeated")],
    model: Annotated[str | None, typer.Argument(help=A_MODEL)] = None,
    resolution: ResolutionOption = None,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="by kind of op and by block, with rooflines")] = False,
    trials: Annotated[int, typer.Option(min=0, help="MetaSchedule trials, for a target that is this host")] = 0,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, w8a16 or w8a8, of those that the target has; its own by default")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="how many times faster this network is: the ratio alone, with its interval")
    ] = None,
    ops: Annotated[Path | None, typer.Option(help="CSV of single operators to price instead (docs/costs.md)")] = None,
    output: Annotated[Path | None, typer.Option(help="CSV to write the prices of --ops to")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Prices a network on a target: latency with its spread and provenance, memory, MACs, parameters.

    What a device has measured of it (graphopt measure) comes first, the newest of all. With --against, says instead how
    many times faster another network is: measured turn by turn where the target is measured. With --ops, prices each
    operator of a CSV instead, and writes them to another.

    With --precision w8a8 or w8a16, a network in float is quantised for the price alone, on a random image; a quantised
    file is priced as it is. With --against, that is the other network: the first one stays as it was given.
    """
    if ops is not None:
        if against is not None:
            raise GraphoptError("cost: --against compares networks, and --ops prices single operators; leave one out")
        if precision is not None:
            raise GraphoptError("cost: the CSV of --ops says the type of each operator; leave out --precision")
        _cost_of_operators(ops, output, model, target, as_json)
        return
    if model is None or output is not None:
        raise GraphoptError("cost: give a network, or --ops FILE.csv with --output OUT.csv")
    from graphopt.backends.precision import InPrecision
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.models.source import find_model, load_source

    files = [load_target(name) for name in target]
    targets = [_in_precision(found, precision) for found in files]
    paths = [find_model(name, Path()) for name in (model, against) if name is not None]
    networks = [load_source(path, resolution, cache_folder() / "exports")[0] for path in paths]
    if against is not None:
        _check_inputs((model, against), networks)
    cache = CostCache(cache_folder() / "costs")
    backends = [open_backend(device, cache) for device in targets]
    forms = {backend.target.name: InPrecision(backend).form(networks[-1]) for backend in backends}
    known: Known = {name: [] for name in forms}
    for file, device in zip(files, targets, strict=True):
        if against is None and file.dtype == device.dtype:  # what was measured in other floats says nothing
            known |= known_of(forms[device.name], [device])
    priced = [backend for backend in backends if not (backend.unpriced and known[backend.target.name])]
    cautions = _cautions(priced)
    if against is not None:
        _compare(model, against, networks, forms, priced, trials, cautions, as_json)
        return
    rows = []
    with progress(announce=False) as report:
        for backend, caution in zip(priced, cautions, strict=True):
            form = forms[backend.target.name]
            price = backend.price(form, trials, partial(report, backend.target.name))
            parts = backend.break_down(price, form if breakdown else None)
            memory = backend.measured_memory(form)
            rows.append(_Row(backend.target, price, parts, memory, caution, form is not networks[0]))
    if as_json:
        said = {row.target.name: _as_json(row) for row in rows}
        _print_json([{**said.get(name, {"target": name}), **known_as_json(found)} for name, found in known.items()])
        return
    print_known(known)
    for row in rows:
        _print(row, breakdown)


def _in_precision(target: Target, precision: str | None) -> Target:
    from graphopt.backends.targets import in_precision

    return target if precision is None else in_precision(target, precision, "cost: --precision")


def _cautions(backends: Sequence[Backend[Any]]) -> list[str]:
    """What each target's price is not to be believed for; a target that has no price is refused."""
    for backend in backends:
        if backend.unpriced:
            raise GraphoptError(
                f"cost: target {backend.target.name} has no price on this machine: {backend.unpriced}; name a "
                "target that is this machine, or one that is estimated (graphopt targets list)"
            )
    cautions = [backend.caution() for backend in backends]
    for caution in dict.fromkeys(filter(None, cautions)):
        typer.echo(f"warning: {caution}", err=True)
    return cautions


def _check_inputs(names: Sequence[str], networks: Sequence[onnx.ModelProto]) -> None:
    """Raises: GraphoptError: they take other images, whose latencies say nothing of each other."""
    from graphopt.ir.canonical import input_shapes

    before, after = (" and ".join("x".join(map(str, one)) for one in input_shapes(model)) for model in networks)
    if before != after:
        raise GraphoptError(
            f"cost --against: {names[0]} takes {before}, and {names[1]} takes {after}; expected the same input (images "
            "of one size: --resolution HEIGHT WIDTH)"
        )


def _compare(
    before: str, after: str, networks: Sequence[onnx.ModelProto], forms: Mapping[str, onnx.ModelProto],
    backends: Sequence[Backend[Any]], trials: int, cautions: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """The ratio of both networks' latencies on each target, of the second one in its form there."""
    with progress(announce=False) as report:
        ratios = [
            backend.compare(networks[0], forms[backend.target.name], trials, partial(report, backend.target.name))
            for backend in backends
        ]
    made = {name: form is not networks[1] for name, form in forms.items()}
    rows = list(zip(backends, ratios, cautions, strict=True))
    if as_json:
        _print_json(
            [
                {
                    "target": backend.target.name,
                    "before": before,
                    "after": after,
                    "ratio": ratio.to_dict(),
                    "caution": caution,
                    **_made_as_json(backend.target, made[backend.target.name]),
                }
                for backend, ratio, caution in rows
            ]
        )
        return
    for backend, ratio, _ in rows:
        name, said = backend.target.name, f" in {backend.target.precision}" if made[backend.target.name] else ""
        typer.echo(f"{name}: {after}{said} is {ratio} as fast as {before} ({ratio.provenance})")
        if said:
            typer.echo(f"  {after} is {_MADE}; {before} is as it was given")


def _print_json(content: Sequence[Mapping[str, Any]]) -> None:
    """One object for one target, a list for several."""
    typer.echo(json.dumps(content if len(content) > 1 else content[0], indent=1))


def _made_as_json(target: Target, is_made: bool) -> dict[str, Any]:
    """In which precision a network was quantised for its price, where it was."""
    return {"quantised_on_a_random_image": target.precision} if is_made else {}


@dataclass(frozen=True)
class _Row:
    """What one target says of a network."""

    target: Target
    cost: NetworkCost
    parts: Breakdown | None
    measured_memory: int | None
    caution: str
    is_made: bool  # quantised here, for the price


def _as_json(row: _Row) -> dict[str, Any]:
    from graphopt.cost.basis import basis_ms

    content = {key: value for key, value in row.cost.to_dict().items() if key != "kernels"}
    rests = {"basis_ms": times} if (times := basis_ms(row.cost.kernels)) else {}
    measured = {} if row.measured_memory is None else {"measured_memory_bytes": row.measured_memory}
    cautions = {"caution": row.caution} if row.caution else {}
    parts = row.parts.to_dict() if row.parts else None
    made = _made_as_json(row.target, row.is_made)
    return {"target": row.target.name, **content, **made, **measured, **cautions, **rests, "breakdown": parts}


def _print(row: _Row, is_broken_down: bool) -> None:
    from graphopt.cost.basis import basis_in_words

    target, cost, parts = row.target, row.cost, row.parts
    planned, measured = f"{cost.peak_memory_bytes / 2**20:.1f} MiB peak", " (planned)"
    if row.measured_memory is not None:
        off = cost.peak_memory_bytes / row.measured_memory - 1
        measured = f" (planned, {off:+.1%} from {row.measured_memory / 2**20:.1f} MiB measured)"
    limit = "" if parts is None or parts.limit_ms is None else f", {parts.limit_ms:.3g} ms at the roofline"
    name = f"{target.name} in {target.precision}" if row.is_made else target.name
    typer.echo(
        f"{name}: {cost.latency_ms:.3f} ms ({cost.provenance}, {cost.low_ms:.3g} to {cost.high_ms:.3g} ms"
        f"{limit}), {planned}{measured}, {cost.macs / 1e9:.3f} GMAC, "
        f"{cost.parameters / 1e6:.3f} M parameters"
    )
    if row.is_made:
        typer.echo(f"  {_MADE}")
    for line in basis_in_words(cost.kernels):
        typer.echo(f"  {line}")
    refused = [kernel.name for kernel in cost.kernels if kernel.kind == "refused"]
    if refused:
        names = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
        typer.echo(f"  a lower bound: refused by the NPU, and not priced: {names}")
    if not is_broken_down:
        return
    if parts is None:
        typer.echo("  measured as a whole: there is nothing to break down")
    elif parts.limit_ms is None:
        rows = [{"term": k.name, "ms": f"{k.ms:.3f}", "share": _share(k.ms, cost)} for k in parts.kernels]
        print_table(rows, ("term", "ms", "share"))
    else:
        for title, group in (("kind", parts.kinds), ("block", parts.blocks)):
            rows = [_row(title, part, cost) for part in group]
            print_table(rows, (title, "kernels", "ms", "share", "roofline ms", "of roofline", "MMAC", "MB"))
        typer.echo(f"  the blocks, compiled alone, add up to the network {parts.additivity:+.1%}")


def _row(title: str, part: Part, cost: NetworkCost) -> dict[str, str]:
    return {
        title: part.name,
        "kernels": str(part.calls),
        "ms": f"{part.latency_ms:.3f}",
        "share": _share(part.latency_ms, cost),
        "roofline ms": f"{part.limit_ms:.3f}",
        "of roofline": f"{part.latency_ms / part.limit_ms:.1f}x" if part.limit_ms else "",
        "MMAC": f"{part.macs / 1e6:.1f}",
        "MB": f"{part.bytes_moved / 1e6:.2f}",
    }


def _share(ms: float, cost: NetworkCost) -> str:
    return f"{ms / cost.latency_ms:.0%}" if cost.latency_ms else ""


def _cost_of_operators(ops: Path, output: Path | None, model: str | None, target: list[str], as_json: bool) -> None:
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache, cache_folder

    if output is None or model is not None or len(target) != 1:
        raise GraphoptError("cost --ops FILE.csv takes one --target, --output OUT.csv, and no network")
    device = load_target(target[0])
    count = open_backend(device, CostCache(cache_folder() / "costs")).price_operators(ops, output)
    if as_json:
        typer.echo(json.dumps({"target": device.name, "operators": count, "output": str(output)}, indent=1))
    else:
        typer.echo(f"{device.name}: {count} operators (estimated) in {output}")
