"""What a phone's GPU runs: OpenCL source with its plan of launches, and an aarch64 library for TVM's runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax

from graphopt.atomic import replacing
from graphopt.backends.opencl.launches import AfterSplit, called_functions, launch_plan
from graphopt.backends.opencl.plan import write_kernel_file
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.kernels.calls import workload_key
from graphopt.kernels.facts import kernel_kind, lower
from graphopt.kernels.linker import aarch64_linker
from graphopt.kernels.lowering import embed_weights, to_relax, tvm_target, weight_names
from graphopt.kernels.target import GpuTarget
from graphopt.tuning.apply import scheduled_by
from graphopt.tuning.databases import tuned_kernels
from graphopt.tuning.records import Record


def build(model: onnx.ModelProto, target: GpuTarget, folder: Path, cache: CostCache) -> list[Path]:
    """Writes into `folder`, and returns:

    - `<target>.cl`: the source of all kernels, in the target's dtype;
    - `<target>.aarch64.so`: weights and host code for Android in one library for TVM's runtime
      (`<target>.aarch64.tar`, to be linked elsewhere, where no linker for aarch64 is found);
    - `<target>.plan.json` and `<target>.safetensors`: what any other program needs to run the source (`plan.Plan`).

    Kernels are built under the schedules that a device has measured as the quickest, and TVM's default ones elsewhere:
    what was only estimated to be quicker is not built.

    Raises:
        GraphoptError: an operator that TVM does not carry, or a linker that fails.
    """
    return build_under(model, target, folder, tuned_kernels(cache.folder / "tuning", target).measured_record)


def build_under(
    model: onnx.ModelProto, target: GpuTarget, folder: Path, record: Callable[[str], Record | None]
) -> list[Path]:
    """As `build`, under the schedules that `record` knows by workload, and TVM's default ones elsewhere."""
    device = tvm_target(target)
    unbound = to_relax(model, target)
    module = _scheduled(embed_weights(unbound), device, record)
    with device:
        module = relax.pipeline.default_build_pipeline()(module)
    main = module["main"]
    called = {"main", *called_functions(main)}
    module = tvm.IRModule({v: f for v, f in module.functions_items() if v.name_hint in called}, attrs=module.attrs)
    split = AfterSplit()
    with tvm.transform.PassContext(instruments=[split]), device:
        executable = relax.build(module, device, relax_pipeline=None)
    text = _each_once(_opencl_source(executable.mod))
    plan, weights = launch_plan(target.name, text, main, split.module, weight_names(unbound))
    source, *beside = write_kernel_file(folder / f"{target.name}.cl", text, plan, weights)
    link = aarch64_linker()
    library = folder / f"{target.name}.aarch64.{'tar' if link is None else 'so'}"
    with replacing(library) as temporary:
        executable.export_library(str(temporary), **({} if link is None else {"fcompile": link}))
    return [source, library, *beside]


def _scheduled(module: Any, device: Any, record: Callable[[str], Record | None]) -> Any:
    for variable, function in list(module.functions_items()):
        if isinstance(function, tvm.tirx.PrimFunc):
            found = record(workload_key(function))
            if found is not None:
                made = scheduled_by(found, function)
            else:
                made, _ = lower(variable.name_hint, function, kernel_kind(function), device)
            module.update_func(variable, made.with_attr("tirx.is_scheduled", True))
    return module


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
