"""The price of a network, or of a small graph cut from one, on a target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import fsum

import onnx

from graphopt.cost.cache import CostCache
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.memory import peak_memory
from graphopt.cost.record import Basis, Cost, KernelCost, NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.kernels.calls import activation_bytes, kernel_facts, network_calls, workload_key
from graphopt.kernels.keys import compile_key, price_key, target_key
from graphopt.kernels.model import KernelFacts, price
from graphopt.progress import Progress
from graphopt.tuning.databases import TunedKernels, tuned_kernels, tuning_state


def network_cost(
    model: onnx.ModelProto, target: Target, cache: CostCache, *, trials: int = 0, progress: Progress | None = None
) -> NetworkCost:
    """Latency (ms), MACs, parameters and peak memory (bytes) of a canonical model (static shapes, batch 1).

    `opencl` targets: TVM lowers the graph, and the kernel model prices every kernel (`estimated`), except those that
    `graphopt tune` has measured over RPC; a sum of measured kernels alone is `measured`. `llvm`: the graph
    is compiled and timed on this host (`measured`): tuned by MetaSchedule with `trials` trials, or, with `trials` 0,
    under TVM's default schedules, which nobody tuned. `qnn`: the NPU's compiler compiles the graph, and a regression
    prices what it says (`estimated`). Graphs that differ in names and weights alone have one price.

    Raises:
        GraphoptError: shapes that are not static, an operator that TVM does not carry, control flow, or a compiler
            that fails.
    """
    _check_one_path(model)
    trials = trials if target.kind == "llvm" else 0
    state = tuning_state(cache.folder / "tuning", target)
    key = f"network:{price_key(model, target, trials)}" + (f":{state}" if state else "")
    found = cache.get(key)
    if found is not None:
        return NetworkCost.from_dict(found)
    macs, parameters = macs_and_parameters(model)
    planned = partial(_planned, model, target, cache) if target.kind == "opencl" else None
    counts = (macs, parameters, peak_memory(model, target.bytes_per_element, planned))
    say = progress or (lambda share, message: None)
    if target.kind == "qnn":
        made = _compiled_for_npu(model, target, cache, say, counts)
    elif not model.graph.node:
        made = NetworkCost(0.0, 0.0, 0.0, target.provenance, *counts)
    elif target.kind == "llvm":
        from graphopt.backends.llvm.measure import measure

        made = NetworkCost(*measure(model, target, cache, trials, say), "measured", *counts)
    else:
        made = _estimated(model, target, cache, say, counts)
    cache.put(key, made.to_dict())
    return made


def _check_one_path(model: onnx.ModelProto) -> None:
    """TVM would take an `If` in silence, and nobody would count what is inside."""
    inner = next((node for node in model.graph.node if any(a.HasField("g") or a.graphs for a in node.attribute)), None)
    if inner is not None:
        raise GraphoptError(
            f"cost: {inner.op_type} ({inner.name}) runs a graph of its own, so the price depends on the image; price "
            "its branches as files of their own"
        )


def _planned(model: onnx.ModelProto, target: Target, cache: CostCache) -> int:
    return activation_bytes(model, target, cache) if model.graph.node else 0


@dataclass(frozen=True)
class _Kernel:
    key: str
    facts: KernelFacts
    calls: int
    in_parts: bool


def _estimated(
    model: onnx.ModelProto, target: Target, cache: CostCache, say: Progress, counts: tuple[int, int, int]
) -> NetworkCost:
    tuned = _tuned(target, cache)
    prices, rows = [], []
    for kernel in _kernels(model, target, cache, say):
        bounds, basis = _priced(kernel, target, tuned)
        facts, calls = kernel.facts, kernel.calls
        prices.append((calls, bounds))
        rows.append(
            KernelCost(
                name=facts.name,
                kind=facts.kind,
                calls=calls,
                ms=calls * bounds[0],
                macs=calls * facts.macs,
                bytes_read=calls * facts.bytes_read,
                bytes_written=calls * facts.bytes_written,
                basis=basis,
            )
        )
    latency, low, high = (fsum(calls * bounds[i] for calls, bounds in prices) for i in range(3))
    provenance: Provenance = "measured" if rows and all(row.basis == "measured" for row in rows) else "estimated"
    cost = Cost(latency, low, high, provenance, *counts)
    return NetworkCost(**cost.to_dict(), kernels=tuple(rows))


def _priced(kernel: _Kernel, target: Target, tuned: TunedKernels) -> tuple[tuple[float, float, float], Basis]:
    """Measured over RPC, before estimated of a tuned schedule that beats TVM's default one, before that one's price."""
    measured = tuned.times_ms(kernel.key)
    if measured is not None:
        return measured, "measured"
    default = price(kernel.facts, target)
    best = tuned.estimated.best(kernel.key)
    if best is not None and best.facts is not None and 1e3 * best.seconds < default[0]:
        return price(KernelFacts.from_dict(best.facts), target), "tuned"
    return default, "parts" if kernel.in_parts else "model"


def _tuned(target: Target, cache: CostCache) -> TunedKernels:
    folder = cache.folder / "tuning"
    key = f"{target_key(target)}:{tuning_state(folder, target)}"
    if key not in cache.tuned:
        cache.tuned[key] = tuned_kernels(folder, target)
    found: TunedKernels = cache.tuned[key]
    return found


def _compiled_for_npu(
    model: onnx.ModelProto, target: Target, cache: CostCache, say: Progress, counts: tuple[int, int, int]
) -> NetworkCost:
    """What the compiler says is kept under a key of its own: other parameters of the regression compile nothing.

    A graph with no node costs a launch: whatever is put in its place is launched too, and the difference counts.
    """
    from graphopt.backends.qnn.compiler import compile_npu
    from graphopt.backends.qnn.log import CompiledFacts
    from graphopt.backends.qnn.regression import breakdown, price

    key = f"npu:{compile_key(model, target)}"
    found = cache.get(key) if model.graph.node else CompiledFacts(0, 0, 0, 0, 0, 0, 0, 0, graphs=1).to_dict()
    if found is None:
        say(0.1, f"{target.name}: compiling offline")
        found = compile_npu(model, target)[0].to_dict()
        cache.put(key, found)
    facts = CompiledFacts.from_dict(found)
    cost = Cost(*price(facts, counts[0], target), "estimated", *counts)
    return NetworkCost(**cost.to_dict(), kernels=breakdown(facts, counts[0], target))


def network_kernels(
    model: onnx.ModelProto, target: Target, cache: CostCache, progress: Progress | None = None
) -> list[tuple[KernelFacts, int]]:
    """The distinct kernels that TVM makes of the model for an `opencl` target, each with its number of calls.

    A kernel is lowered once for each target's limits, whatever graphs it occurs in. One that TVM cannot compile is
    replaced by the kernels of its single operators, named `KERNEL/OPERATOR`.
    """
    return [(kernel.facts, kernel.calls) for kernel in _kernels(model, target, cache, progress)]


def _kernels(model: onnx.ModelProto, target: Target, cache: CostCache, progress: Progress | None) -> list[_Kernel]:
    from graphopt.kernels.lowering import kernel_parts

    calls = network_calls(model, target, cache)
    kernels = []
    for done, call in enumerate(calls):
        try:
            facts = kernel_facts(call, target, cache)
            kernels.append(_Kernel(workload_key(call.function), facts, call.calls, False))
        except GraphoptError:
            parts = kernel_parts(model, target, call.name)
            if not parts:
                raise
            for part in parts:
                facts = kernel_facts(part, target, cache)
                kernels.append(_Kernel(workload_key(part.function), facts, call.calls, True))
        if progress is not None:
            progress((done + 1) / len(calls), f"{target.name}: {call.name}")
    return kernels
