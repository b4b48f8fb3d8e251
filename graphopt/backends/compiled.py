"""What is deployed: OpenCL source and an aarch64 library for each GPU target, and a runnable library for this host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.kernels.linker import aarch64_linker


def compile_network(model: onnx.ModelProto, target: Target, folder: Path, cache: CostCache) -> list[Path]:
    """Writes the compiled network and returns the files.

    `opencl`: `<target>.cl`, the source of all kernels in the target's dtype, and `<target>.aarch64.so`, weights and
    host code for Android in one library for TVM's runtime (`<target>.aarch64.tar`, to be linked elsewhere, where no
    linker for aarch64 is found). `llvm`: `host.so`, under the best schedules that tuning has left in the cache folder.
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
    executable = _build_gpu(model, target, cache)
    source = folder / f"{target.name}.cl"
    source.write_text(_each_once(_opencl_source(executable.mod)))
    link = aarch64_linker()
    library = folder / f"{target.name}.aarch64.{'tar' if link is None else 'so'}"
    executable.export_library(str(library), **({} if link is None else {"fcompile": link}))
    return [source, library]


def run_library(path: Path, inputs: Sequence[NDArray[np.floating]]) -> list[NDArray[Any]]:
    """The outputs of a host library for `inputs`, in the order of the graph's inputs."""
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    made = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(array)) for array in inputs))
    outputs = [made] if isinstance(made, tvm.runtime.Tensor) else list(made)
    return [output.numpy() for output in outputs]


def _build_gpu(model: onnx.ModelProto, target: Target, cache: CostCache) -> Any:
    """Kernels under the schedules that a device has measured as the quickest, and TVM's default ones elsewhere: what
    was only estimated to be quicker is not built.
    """
    import tvm
    from tvm import relax

    from graphopt.kernels.calls import workload_key
    from graphopt.kernels.facts import kernel_kind, lower
    from graphopt.kernels.lowering import embed_weights, to_relax, tvm_target
    from graphopt.tuning.apply import scheduled_by
    from graphopt.tuning.databases import tuned_kernels

    device = tvm_target(target)
    module = embed_weights(to_relax(model, target))
    tuned = tuned_kernels(cache.folder / "tuning", target)
    for variable, function in list(module.functions_items()):
        if isinstance(function, tvm.tirx.PrimFunc):
            record = tuned.measured_record(workload_key(function))
            if record is not None:
                made = scheduled_by(record, function)
            else:
                made, _ = lower(variable.name_hint, function, kernel_kind(function), device)
            module.update_func(variable, made.with_attr("tirx.is_scheduled", True))
    with device:
        return relax.build(module, device, relax_pipeline=relax.pipeline.default_build_pipeline())


def _each_once(source: str) -> str:
    """TVM's source for a whole program: it repeats its pragmas and all declarations before each kernel."""
    sections = source.split("// Function: ")[1:]
    head = sections[0].partition("\n")[2].partition("__kernel")[0]
    kernels = []
    for section in sections:
        name, _, text = section.partition("\n")
        start = re.search(rf"^__kernel void {name}\([^;{{]*\) {{$", text, re.MULTILINE)
        assert start is not None  # TVM names a section after the kernel that it defines
        kernels.append(text[start.start() :].rstrip())
    return head + "\n\n".join(kernels) + "\n"


def _opencl_source(module: Any) -> str:
    """The source of the OpenCL module among the modules that `module` imports."""
    pending = [module]
    while pending:
        found = pending.pop()
        if str(found.kind) == "opencl":
            return str(found.inspect_source())
        pending.extend(found.imports)
    raise GraphoptError("TVM made no OpenCL module: the network has no kernel that runs on the GPU")
