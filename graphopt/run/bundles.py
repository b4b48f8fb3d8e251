"""What a run says of its bundles that no backend knows: stride, tile, noise, licence, and where figures come from."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import onnx

from graphopt import __version__
from graphopt.backends.base import Artefact, Backend
from graphopt.bundle.bundle import Bundle
from graphopt.bundle.manifest import Figure, Noise
from graphopt.bundle.metadata import with_metadata
from graphopt.cost.keys import graph_key
from graphopt.cost.ratio import Ratio
from graphopt.cost.record import Cost
from graphopt.ir.sizes import Size
from graphopt.models.shipped import SHIPPED
from graphopt.run.forms import deployed_file, deployed_network, form_of
from graphopt.run.run import Run
from graphopt.run.sizes import Sizes, size_of


def said_in(sizes: Sizes, run: Run, precision: str = "") -> Sizes:
    """The same networks, each of which says in its metadata what the manifest says. `precision`: of a quantised one; a
    network in float may be written in halves later.
    """

    def said(model: onnx.ModelProto, tile: Size) -> onnx.ModelProto:
        licence = licence_of(run, model)
        facts = {
            "version": f"graphopt {__version__}",
            **({} if licence is None else {"licence": licence}),
            "stride": sizes.stride,
            "range": [0, 1],
            "noise": noise_of(run).model_dump(),
            "tile": list(tile),
            "overlap": _overlap(run, tile),
            **({"precision": precision} if precision else {}),
        }
        return with_metadata(model, facts)

    tile = size_of(sizes.fixed)
    free = None if sizes.free is None else said(sizes.free, tile)
    return Sizes(said(sizes.priced, size_of(sizes.priced)), said(sizes.fixed, tile), free, sizes.stride)


def describe(run: Run, sizes: Sizes, backend: Backend[Any]) -> dict[str, Any]:
    """The keys of a manifest that no backend knows, without its figures."""
    built = sizes.of(backend)
    keyed = sizes.priced if built is sizes.free else built
    return {
        "stride": sizes.stride,
        "tile": size_of(sizes.fixed),
        "overlap": _overlap(run, size_of(sizes.fixed)),
        "noise": noise_of(run),
        "licence": licence_of(run, sizes.priced),
        "graph": graph_key(keyed),
    }


def add_quality(run: Run, quality: Mapping[str, Mapping[str, float]]) -> None:
    """Sets beside what each bundle costs how good its network is: on the test photographs, before and after.

    `quality`: as `judge` gives it.
    """
    about: dict[str, Any] = {
        "provenance": "measured",
        "device": "the machine of the run",
        "runtime": f"onnxruntime {metadata.version('onnxruntime')}",
        "date": _today(),
    }
    backends = run.backends()
    for folder in run.folder.bundles():
        backend, figures = backends[folder.name], []
        own = form_of(backend) or ("float" if "float" in quality else "after")
        for words, scores, model in (
            (
                "",
                quality[own],
                deployed_file(run.folder, backend),
            ),
            (" of the original", quality["before"], run.model),
        ):
            command = f"graphopt evaluate --model {model} --data {run.path}"
            for name, unit in (("psnr", "dB"), ("ssim", "1")):
                figures.append(Figure(what=f"{name}{words}", value=scores[name], unit=unit, command=command, **about))
        Bundle.open(folder).with_figures(figures)


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _overlap(run: Run, tile: Size) -> int:
    return min(run.config.deploy.overlap, min(tile) // 2)


def noise_of(run: Run) -> Noise:
    """The noise that the photographs of the run get."""
    data = run.config.data
    if data.noise != "gaussian":
        return Noise(kind="raw")
    low, high = data.sigma if isinstance(data.sigma, tuple) else (data.sigma, data.sigma)
    return Noise(kind="gaussian", low=low, high=high)


def licence_of(run: Run, model: onnx.ModelProto) -> str | None:
    """What the network's file says of itself, or the licence of what ships with graphopt."""
    said = {entry.key.lower(): entry.value for entry in model.metadata_props}
    shipped = SHIPPED.get(run.config.model)
    return said.get("licence") or said.get("license") or (shipped.licence if shipped is not None else None)


def figures_of(run: Run, backend: Backend[Any], cost: Cost, gain: Ratio, artefact: Artefact) -> list[Figure]:
    """Latency and peak memory of the deployed network, and how many times faster it is than the original;
    `graphopt cost` prints them again.
    """
    runtime, name = artefact.manifest["runtime"], backend.target.name
    given = dict(zip(run.targets, run.config.targets, strict=True))[name]  # by path, where the file names it so
    target = name if name == given else str(run.path.parent / given)
    options = f"--target {target}" + (f" --trials {run.config.trials}" if backend.tunes and run.config.trials else "")
    deployed = deployed_file(run.folder, backend)
    about: dict[str, Any] = {
        "size": size_of(deployed_network(run.folder, backend)),
        "device": backend.target.title,
        "runtime": f"{runtime['name']} {runtime['version']}",
        "date": _today(),
    }
    alone = {**about, "command": f"graphopt cost {deployed} {options}"}
    beside = {**about, "command": f"graphopt cost {run.folder.original.path} {options} --against {deployed}"}
    return [
        Figure(
            what="latency", value=cost.latency_ms, low=cost.low_ms, high=cost.high_ms, unit="ms",
            provenance=cost.provenance, **alone,
        ),
        Figure(what="peak memory", value=cost.peak_memory_bytes, unit="byte", provenance="estimated", **alone),
        Figure(what="speed-up", unit="1", **gain.to_dict(), **beside),
    ]  # fmt: skip
