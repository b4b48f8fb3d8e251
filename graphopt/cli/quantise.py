"""`graphopt quantise`: a network whose convolutions compute in integers, and what that costs in PSNR."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphopt.cli.options import A_TARGET, JsonFlag, ModelArgument, ResolutionOption
from graphopt.cli.terminal import progress
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    from graphopt.backends.base import Backend
    from graphopt.cost.cache import CostCache
    from graphopt.quantise.mixed import Widened
    from graphopt.train.quantising import Outcome


def quantise(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(help="where the quantised network goes, an ONNX file")],
    data: Annotated[Path, typer.Option(help="folder of clean photographs: one of four judges, the others calibrate")],
    sigma: Annotated[
        str, typer.Option(help="standard deviation of the noise on the scale 0-255, or a range of it: 10-55")
    ] = "25",
    precision: Annotated[str, typer.Option(help="w8a8, or w8a16: bits of weights and of activations")] = "w8a8",
    device: Annotated[
        str | None, typer.Option(help="whose kernels: cpu (by default), litert, or qnn (Qualcomm's NPU)")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help=f"{A_TARGET}: in place of --device; it is asked what it refuses")
    ] = None,
    mixed: Annotated[
        float, typer.Option(min=0, max=1, help="layers stay wider that make --target slower by this share at most")
    ] = 0,
    resolution: ResolutionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Quantises a network after training, in QDQ form, and measures what it loses on photographs it has not seen.

    Ranges of activations are found in four ways, and the one is kept that gives most. Ops that the device does not
    compute in integers stay in float, and are named. With --mixed 0.1 the layers that gain most stay in 16 bits (in
    float on CPUs), for a tenth of the time at most. What is finished is kept: the same command goes on from there.
    """
    if output.suffix.lower() != ".onnx" or not output.parent.is_dir():
        raise GraphoptError(f"cannot write {output}: expected a name that ends in .onnx, in a folder that exists")
    if mixed and target is None:
        raise GraphoptError("quantise: --mixed asks what layers cost; say on which device, with --target")
    if device is not None and target is not None:
        raise GraphoptError("quantise: --target says whose kernels it is for; leave out --device")
    import onnx

    from graphopt.atomic import replacing
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.ir.quantised import check_float
    from graphopt.models.source import find_model, load_source
    from graphopt.quantise.memory import Memory
    from graphopt.quantise.mixed import Allowed
    from graphopt.quantise.rules import find_rules
    from graphopt.train.data import Gaussian, open_photographs
    from graphopt.train.quantising import patches_of, quantise_on

    cache = CostCache(cache_folder() / "costs")
    backend = _opened(target, cache, mixed) if target else None
    device = backend.integers if backend else device or "cpu"
    find_rules(device, precision)
    noise = Gaussian(*_levels(sigma))
    network, _ = load_source(find_model(model, Path()), resolution, cache_folder() / "exports")
    check_float(network, model, "quantising takes")
    patches = patches_of(network, open_photographs([data]), noise, str(data))
    allowed = (
        Allowed(lambda made, beside: backend.price_beside(made, beside).latency_ms, mixed)
        if mixed and backend
        else None
    )
    refuses = backend.refused if backend and not backend.unpriced else None
    with progress(announce=False) as report:
        say = partial(report, "quantise")
        found = quantise_on(network, patches, precision, device, say, allowed, Memory(cache), refuses)
    with replacing(output) as temporary:
        onnx.save(found.quantised.model, temporary)
    if as_json:
        typer.echo(json.dumps(_as_json(model, output, precision, device, sigma, found), indent=1))
        return
    _print(output, precision, target or device, found)
    if found.quantised.widened and backend:
        _print_widened(
            found.quantised.widened,
            target or device,
            f"in {find_rules(device, precision)[0].wider}",
            backend.provenance,
        )


def _levels(sigma: str) -> tuple[float, float]:
    """The least and the most of a number, or of a range."""
    low, _, high = sigma.partition("-")
    try:
        levels = float(low), float(high or low)
    except ValueError:
        levels = 0.0, -1.0
    if not 0 <= levels[0] <= levels[1] < float("inf"):
        raise GraphoptError(f"quantise: --sigma is '{sigma}'; expected a number, 25, or a range, 10-55")
    return levels


def _opened(name: str, cache: CostCache, mixed: float) -> Backend[Any]:
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target

    backend = open_backend(load_target(name), cache)
    if not backend.integers:
        raise GraphoptError(f"quantise: target {name} does not compute in integers; see graphopt targets list")
    if mixed and backend.unpriced:
        raise GraphoptError(f"quantise: --mixed: target {name} has no price on this machine: {backend.unpriced}")
    return backend


def _print(output: Path, precision: str, device: str, found: Outcome) -> None:
    made, (seen, held_out) = found.quantised, found.patches
    typer.echo(f"{output}: {precision} for {device}, ranges by {made.method}")
    (whole, left), loss = found.held_out, found.loss
    typer.echo(f"psnr {whole:.3f} dB in float, {left:.3f} dB in {precision}: {-loss:+.3f} dB (measured)")
    typer.echo(f"  on {held_out} patches of photographs that no range was found on")
    typer.echo(f"  on the {seen} patches that ranges were found on: {-found.seen_loss:+.3f} dB (measured)")
    others = ", ".join(f"{name} {score - whole:+.3f} dB" for name, score in made.scores.items())
    typer.echo(f"  by method: {others} (measured)")
    if made.in_float:
        typer.echo(f"  in float: {_counted(made.in_float)}")
    for op, why in made.refused.items():
        typer.echo(f"  {op} stays in float: {why}")
    if found.warning:
        typer.echo(f"warning: {found.warning}", err=True)


def _print_widened(found: Widened, target: str, form: str, provenance: str) -> None:
    (narrow, psnr), (base, ms) = found.psnr, found.ms
    if not found.wide:
        typer.echo("  mixed: no layers pay for staying wider; all stay in 8 bits")
    else:
        typer.echo(
            f"  mixed: {psnr - narrow:+.3f} dB (measured; {found.expected:+.3f} expected), "
            f"{base:.3f} -> {ms:.3f} ms ({ms / base - 1:+.1%}) on {target} ({provenance})"
        )
        typer.echo(
            f"  {form}, each with what it gains alone: "
            + ", ".join(f"{n} {found.gains[n]:+.3f} dB" for n in found.wide)
        )


def _counted(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {op}" for op, count in ops.items())


def _as_json(model: str, output: Path, precision: str, device: str, sigma: str, found: Outcome) -> dict[str, Any]:
    made = found.quantised
    return {
        "model": model,
        "output": str(output),
        "precision": precision,
        "device": device,
        "sigma": list(_levels(sigma)),
        "method": made.method,
        "psnr": {"float": found.held_out[0], "quantised": found.held_out[1], "patches": found.patches[1]},
        "psnr_seen": {"float": found.seen[0], "quantised": found.seen[1], "patches": found.patches[0]},
        "psnr_by_method": made.scores,
        "in_float": made.in_float,
        "refused": made.refused,
        **({"mixed": _mixed_as_json(made.widened)} if made.widened else {}),
        "has_few_images": made.has_few,
        "provenance": "measured",
    }


def _mixed_as_json(found: Widened) -> dict[str, Any]:
    return {
        "wide": found.wide,
        "gains_db": found.gains,
        "prices_ms": found.prices,
        "psnr": {"all_in_8_bits": found.psnr[0], "mixed": found.psnr[1]},
        "latency_ms": {"all_in_8_bits": found.ms[0], "mixed": found.ms[1]},
    }
