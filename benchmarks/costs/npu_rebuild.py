"""Rebuilds the table `npu_int8_facts.csv`: what the NPU's compiler says of public networks, quantised.

    pip install --no-deps --target PACKAGES torchvision==0.28.0 timm==1.0.31
    PYTHONPATH=benchmarks python benchmarks/costs/npu_rebuild.py PACKAGES resnet18 w8a8 >> FACTS.csv

One row for each call: a network with random weights, in the form in which it was timed, quantised by onnxruntime's
configuration for QNN (per tensor) on one random image. The last four columns are those of `npu_values.csv`.
torchvision's compiled operators are not needed: they are declared empty. Half a minute to three minutes for each row on
a quiet core. With `values` in place of a precision nothing is compiled, and the row is one of `npu_values.csv`.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

from costs.npu_networks import Network, Timed, load_torchvision, networks, randomise
from graphopt.backends.qnn.compiler import compile_npu
from graphopt.backends.qnn.padding import padded_macs
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.qnn.values import values_of
from graphopt.backends.targets import load_target
from graphopt.cost.counts import macs_and_parameters


class OneImage(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, shape: tuple[int, ...]):
        self.images = iter([{"x": np.random.default_rng(0).random(shape, dtype=np.float32)}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.images, None)


def exported(network: Network, path: Path) -> int:
    """Writes the network in float, and returns how many parameters it has."""
    torch.manual_seed(0)
    made = Timed(network.make(), network.inside).eval()
    randomise(made)
    image = torch.rand(network.shape)
    torch.onnx.export(made, (image,), path, input_names=["x"], opset_version=18, external_data=False)
    return sum(parameter.numel() for parameter in made.parameters())


def facts(name: str, network: Network, precision: str) -> list[Any]:
    """A row of the table, and the values of each kind last; of `values`, these alone."""
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (Path(folder) / f"{stem}.onnx" for stem in ("plain", "ready", "made"))
        parameters = exported(network, plain)
        original = onnx.load(plain)
        values = astuple(values_of(original))
        if precision == "values":
            return [name, *values]
        source = ready if qnn_preprocess_model(plain, ready) else plain
        activations = QuantType.QUInt16 if precision == "w8a16" else QuantType.QUInt8
        reader = OneImage(network.shape)
        config = get_qnn_qdq_config(source, reader, activation_type=activations, weight_type=QuantType.QUInt8)
        quantize(source, made, config)
        found = compile_npu(onnx.load(made), target)[0]
    macs, _ = macs_and_parameters(original)
    moved, spilled = found.read_bytes + found.written_bytes, found.spilled_bytes + found.filled_bytes
    counts = [macs, padded_macs(original), moved, spilled, found.main_ops, found.vector_ops, found.supertiles]
    return [name, precision, "x".join(map(str, network.shape)), parameters, *counts, *values]


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in ("w8a8", "w8a16", "values"):
        sys.exit("usage: python benchmarks/costs/npu_rebuild.py PACKAGES NETWORK w8a8|w8a16|values")
    known = networks(load_torchvision(Path(sys.argv[1])))
    if sys.argv[2] not in known:
        sys.exit(f"no network {sys.argv[2]}; there are {', '.join(sorted(known))}")
    print(*facts(sys.argv[2], known[sys.argv[2]], sys.argv[3]), sep=",")
