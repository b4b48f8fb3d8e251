"""What a phone's GPU runs: OpenCL source, and an aarch64 library for TVM's runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax

from graphopt.atomic import replacing
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.kernels.calls import workload_key
from graphopt.kernels.facts import kernel_kind, lower
from graphopt.kernels.linker import aarch64_linker
from graphopt.kernels.lowering import embed_weights, to_relax, tvm_target
from graphopt.kernels.target import GpuTarget
from graphopt.tuning.apply import scheduled_by
from graphopt.tuning.databases import tuned_kernels


def build(model: onnx.ModelProto, target: GpuTarget, folder: Path, cache: CostCache) -> list[Path]:
    """`<target>.cl`, the source of all kernels in the target's dtype, and `<target>.aarch64.so`, weights and host code
    for Android in one library (`<target>.aarch64.tar`, to be linked elsewhere, where no linker for aarch64 is found).

    Raises:
        GraphoptError: an operator that TVM does not carry, or a linker that fails.
    """
    executable = _build_gpu(model, target, cache)
    source = folder / f"{target.name}.cl"
    with replacing(source) as temporary:
        temporary.write_text(_each_once(_opencl_source(executable.mod)))
    link = aarch64_linker()
    library = folder / f"{target.name}.aarch64.{'tar' if link is None else 'so'}"
    executable.export_library(str(library), **({} if link is None else {"fcompile": link}))
    return [source, library]


def _build_gpu(model: onnx.ModelProto, target: GpuTarget, cache: CostCache) -> Any:
    """Kernels under the schedules that a device has measured as the quickest, and TVM's default ones elsewhere: what
    was only estimated to be quicker is not built.
    """
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
