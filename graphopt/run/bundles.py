"""What a bundle says beyond what its backend knows: sizes, noise, licence, and where its figures come from."""

from __future__ import annotations

import datetime
from typing import Any

import onnx

from graphopt.backends.base import Artefact
from graphopt.bundle.manifest import Figure, Noise
from graphopt.cost.keys import graph_key
from graphopt.cost.record import Cost
from graphopt.cost.target import Target
from graphopt.ir.canonical import input_shape
from graphopt.models.shipped import SHIPPED
from graphopt.run.run import Run
from graphopt.train.tiling import OVERLAP


def describe(run: Run, model: onnx.ModelProto, target: Target, cost: Cost | None, artefact: Artefact) -> dict[str, Any]:
    """The keys of a manifest that no backend knows; no `cost`, and no figures, where the target is priced elsewhere."""
    height, width = input_shape(model)[2:]
    return {
        "tile": (height, width),
        "overlap": OVERLAP,
        "noise": noise_of(run),
        "licence": licence_of(run, model),
        "graph": graph_key(model),
        "figures": [] if cost is None else figures_of(run, target, cost, (height, width), artefact),
    }


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


def figures_of(run: Run, target: Target, cost: Cost, size: tuple[int, int], artefact: Artefact) -> list[Figure]:
    """Latency and peak memory of the deployed network, which `graphopt cost` prints again."""
    runtime = artefact.manifest["runtime"]
    about: dict[str, Any] = {
        "size": size,
        "device": target.title,
        "runtime": f"{runtime['name']} {runtime['version']}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"graphopt cost {run.folder.model.path} --target {target.name}",
    }
    latency = Figure(
        what="latency", value=cost.latency_ms, low=cost.low_ms, high=cost.high_ms, unit="ms",
        provenance=cost.provenance, **about,
    )  # fmt: skip
    memory = Figure(what="peak memory", value=cost.peak_memory_bytes, unit="byte", provenance="estimated", **about)
    return [latency, memory]
