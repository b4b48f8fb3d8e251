"""The price of a network, or of a small graph cut from one, on a target."""

from __future__ import annotations

from math import fsum

import onnx

from graphopt.cost.cache import CostCache
from graphopt.cost.count import macs_and_parameters, peak_memory
from graphopt.cost.kernel_model import KernelFacts, price
from graphopt.cost.keys import compile_key, graph_key, price_key, target_key
from graphopt.cost.record import Cost, KernelCost, NetworkCost
from graphopt.cost.target import Target
from graphopt.progress import Progress


def network_cost(
    model: onnx.ModelProto, target: Target, cache: CostCache, *, trials: int = 0, progress: Progress | None = None
) -> NetworkCost:
    """Latency (ms), MACs, parameters and peak memory (bytes) of a canonical model (static shapes, batch 1).

    `opencl` targets: TVM lowers the graph, and the kernel model prices every kernel (`estimated`). `llvm`: the graph
    is compiled and timed on this host (`measured`): tuned by MetaSchedule with `trials` trials, or, with `trials` 0,
    under TVM's default schedules, which nobody tuned. `qnn`: the NPU's compiler compiles the graph, and a regression
    prices what it says (`estimated`). Graphs that differ in names and weights alone have one price.

    Raises:
        GraphoptError: shapes that are not static, an operator that TVM does not carry, or a compiler that fails.
    """
    trials = trials if target.kind == "llvm" else 0
    key = f"network:{price_key(model, target, trials)}"
    found = cache.get(key)
    if found is not None:
        return NetworkCost.from_dict(found)
    macs, parameters = macs_and_parameters(model)
    counts = (macs, parameters, peak_memory(model, target.bytes_per_element))
    say = progress or (lambda share, message: None)
    if target.kind == "qnn":
        made = _compiled_for_npu(model, target, cache, say, counts)
    elif not model.graph.node:
        made = NetworkCost(0.0, 0.0, 0.0, target.provenance, *counts)
    elif target.kind == "llvm":
        from graphopt.cost.tuning import measure

        made = NetworkCost(*measure(model, target, cache.folder / "tuning", trials, say), "measured", *counts)
    else:
        made = _estimated(model, target, cache, say, counts)
    cache.put(key, made.to_dict())
    return made


def _estimated(
    model: onnx.ModelProto, target: Target, cache: CostCache, say: Progress, counts: tuple[int, int, int]
) -> NetworkCost:
    kernels = network_kernels(model, target, cache, say)
    prices = [(calls, price(facts, target)) for facts, calls in kernels]
    latency, low, high = (fsum(calls * bounds[i] for calls, bounds in prices) for i in range(3))
    rows = tuple(
        KernelCost(
            name=facts.name,
            kind=facts.kind,
            calls=calls,
            ms=calls * price(facts, target)[0],
            macs=calls * facts.macs,
            bytes_read=calls * facts.bytes_read,
            bytes_written=calls * facts.bytes_written,
        )
        for facts, calls in kernels
    )
    cost = Cost(latency, low, high, "estimated", *counts)
    return NetworkCost(**cost.to_dict(), kernels=rows)


def _compiled_for_npu(
    model: onnx.ModelProto, target: Target, cache: CostCache, say: Progress, counts: tuple[int, int, int]
) -> NetworkCost:
    """What the compiler says is kept under a key of its own: other parameters of the regression compile nothing.

    A graph with no node costs a launch: whatever is put in its place is launched too, and the difference counts.
    """
    from graphopt.cost.npu_compile import compile_npu
    from graphopt.cost.npu_log import CompiledFacts
    from graphopt.cost.npu_model import breakdown, price

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

    A kernel is lowered once for each target's limits, whatever graphs it occurs in.
    """
    import tvm_ffi

    from graphopt.cost.kernel_facts import describe
    from graphopt.cost.lowering import kernel_calls, to_relax, tvm_target

    lowered = f"{graph_key(model)}:{target.dtype}"
    if lowered not in cache.lowered:
        cache.lowered[lowered] = kernel_calls(to_relax(model, target))
    calls = cache.lowered[lowered]
    device, limits = tvm_target(target), target_key(target)
    kernels = []
    for done, call in enumerate(calls):
        key = f"kernel:{limits}:{tvm_ffi.structural_hash(call.function):x}:{call.repeats}"
        found = cache.get(key)
        if found is None:
            found = describe(call.name, call.function, call.repeats, device).to_dict()
            cache.put(key, found)
        kernels.append((KernelFacts.from_dict({**found, "name": call.name}), call.calls))
        if progress is not None:
            progress((done + 1) / len(calls), f"{target.name}: {call.name}")
    return kernels
