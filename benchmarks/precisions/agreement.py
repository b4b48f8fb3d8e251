"""What onnxruntime's CPU and the emulated NPU give of the same network in the same precision, crop by crop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from graphopt.backends.base import Backend
from graphopt.config.precision import Precision
from graphopt.cost.keys import hash_of
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.quantise.memory import hash_of_arrays, hash_of_model
from graphopt.run.arithmetic import in_its_precision, on_cpu, on_device
from graphopt.run.crops import Crops, crops
from graphopt.train.data import open_photographs, pairs_of
from graphopt.train.data.noise import Gaussian
from precisions.networks import Case, Networks

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "w8a16", "w8a8")
SIGMA = 25.0
Row = dict[str, Any]


def crops_of(folder: Path, count: int, side: int) -> Crops:
    """The busiest square of each of `count` photographs, spread over the folder, with noise."""
    photographs = open_photographs([folder])
    count = min(count, len(photographs))
    chosen = [photographs[i * len(photographs) // count] for i in range(count)]
    found = crops(list(pairs_of(chosen, Gaussian(SIGMA, SIGMA))), side)
    if not found.pairs:
        raise GraphoptError(f"--data {folder}: no photograph holds a crop")
    return found


def agreement(case: Case, networks: Networks, backend: Backend[Any], seen: Crops) -> list[Row]:
    """A row for each precision: PSNR in dB, and what the emulator gives more, in the mean and at most on one crop. Its
    fp32 is its fp16 where it has no other floats.
    """
    rows = []
    for precision in PRECISIONS:
        path, made = networks.file(case, precision)
        model = canonical(networks.model(str(path)), (seen.side, seen.side), precision)
        networks.say(0, f"{case.network} in {precision}: on the CPU, and on {backend.runs_on}")
        cpu = on_cpu(model, precision, seen)
        row: Row = {
            "network": case.network, "precision": precision, "made": made, "crops": len(seen.pairs), "side": seen.side,
            "psnr_cpu": float(np.mean(cpu)), "psnr_device": None, "difference": None, "largest": None, "why_not": "",
            "provenance": "measured",
        }  # fmt: skip
        if precision != "fp32":
            own = in_its_precision(backend, precision)
            row.update(_beside(own, model if precision != "fp16" else _float(case, networks, seen), seen, cpu))
        rows.append(row)
    return rows


def _float(case: Case, networks: Networks, seen: Crops) -> onnx.ModelProto:
    """What is built for halves: the device's compiler halves it."""
    return canonical(networks.model(case.network), (seen.side, seen.side), case.network)


def _beside(backend: Backend[Any], model: onnx.ModelProto, seen: Crops, cpu: list[float]) -> Row:
    """Kept by the graph and the crops: a build takes longer than a run."""
    images = hash_of_arrays([image for pair in seen.pairs for image in pair])
    key = f"agreement:{hash_of([hash_of_model(model), images, backend.key()])}"
    device = backend.cache.get(key)
    if device is None:
        try:
            device = on_device(model, backend, seen)
        except GraphoptError as error:
            return {"why_not": str(error)}
        backend.cache.put(key, device)
    apart = np.subtract(device, cpu)
    return {
        "psnr_device": float(np.mean(device)),
        "difference": float(np.mean(apart)),
        "largest": float(np.abs(apart).max()),
    }
