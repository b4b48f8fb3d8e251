"""The kernels of a model, lowered once in a process, and their facts, described once for all processes."""

from __future__ import annotations

from typing import Any

import onnx

from graphopt.cost.cache import CostCache
from graphopt.cost.keys import graph_key
from graphopt.kernels.keys import target_key
from graphopt.kernels.model import KernelFacts
from graphopt.kernels.target import TvmTarget


def network_calls(model: onnx.ModelProto, target: TvmTarget, cache: CostCache, module: Any = None) -> list[Any]:
    """The calls (`lowering.Call`) of the model's kernels; a graph is lowered once for each dtype in one process.
    `module` is the model as `to_relax` gives it, where it has been lowered already.
    """
    return _lowered(model, target, cache, module)[0]


def activation_bytes(model: onnx.ModelProto, target: TvmTarget, cache: CostCache) -> int:
    """What TVM sets aside for activations, results included, when it runs the model."""
    return _lowered(model, target, cache)[1]


def _lowered(model: onnx.ModelProto, target: TvmTarget, cache: CostCache, module: Any = None) -> tuple[list[Any], int]:
    from graphopt.kernels.lowering import kernel_calls, planned_bytes, to_relax

    key = f"{graph_key(model)}:{target.dtype}:{target.kind}"
    if key not in cache.lowered:
        module = to_relax(model, target) if module is None else module
        cache.lowered[key] = kernel_calls(module), planned_bytes(module)
    found: tuple[list[Any], int] = cache.lowered[key]
    return found


def workload_key(function: Any) -> str:
    """The structural hash of an unscheduled kernel: blind to names, not to shapes, dtypes and what it computes."""
    import tvm_ffi

    return f"{tvm_ffi.structural_hash(function):x}"


def kernel_facts(call: Any, target: TvmTarget, cache: CostCache) -> KernelFacts:
    """The facts of a kernel (a `lowering.Call`) under TVM's default schedule.

    Raises:
        GraphoptError: no schedule rule carries the kernel.
    """
    from graphopt.kernels.facts import describe
    from graphopt.kernels.lowering import tvm_target

    key = f"kernel:{target_key(target)}:{workload_key(call.function)}:{call.repeats}"
    found = cache.get(key)
    if found is None:
        found = describe(call.name, call.function, call.repeats, tvm_target(target)).to_dict()
        cache.put(key, found)
    return KernelFacts.from_dict({**found, "name": call.name})
