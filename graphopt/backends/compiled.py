"""What is deployed: OpenCL source and an aarch64 library for each GPU target, and a runnable library for this host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target


def compile_network(model: onnx.ModelProto, target: Target, folder: Path, cache: CostCache) -> list[Path]:
    """Writes the compiled network and returns the files.

    `opencl`: `<target>.cl`, the source of all kernels in the target's dtype, and `<target>.aarch64.so`, weights and
    host code for Android in one library for TVM's runtime (`<target>.aarch64.tar`, to be linked elsewhere, where no
    linker for aarch64 is found), and what other programs need to run the source: `<target>.plan.json`, the launches,
    and `<target>.safetensors`, the weights. `llvm`: `host.so`, under the best schedules that tuning has left in the
    cache folder.
    `qnn`: `<target>.onnx` and the context binary that it names, `<target>_qnn.bin`, for onnxruntime on the phone;
    nothing for a network with ops that the NPU refuses, of which there is no binary.

    Raises:
        GraphoptError: an operator that TVM does not carry, a compiler that fails, or a linker that fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if target.kind == "llvm":
        from graphopt.backends.llvm.measure import build_host

        path = folder / "host.so"
        executable = build_host(model, target, cache, 0, lambda share, message: None, tuned=True)
        executable.export_library(str(path))
        return [path]
    if target.kind == "qnn":
        from graphopt.backends.pricing import network_cost
        from graphopt.backends.qnn.compiler import compile_npu
        from graphopt.backends.qnn.regression import REFUSED

        refused = any(row.kind == REFUSED for row in network_cost(model, target, cache).kernels)
        return [] if refused else compile_npu(model, target, folder)[1]
    from graphopt.backends.opencl.build import build

    return build(model, target, folder, cache)


def run_library(path: Path, inputs: Sequence[NDArray[np.floating]]) -> list[NDArray[Any]]:
    """The outputs of a host library for `inputs`, in the order of the graph's inputs."""
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    made = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(array)) for array in inputs))
    outputs = [made] if isinstance(made, tvm.runtime.Tensor) else list(made)
    return [output.numpy() for output in outputs]
