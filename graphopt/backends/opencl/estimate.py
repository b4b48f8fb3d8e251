"""A network's price on a GPU: TVM lowers it, and each of its kernels is measured, or priced by the kernel model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import fsum

import onnx

from graphopt.cost.cache import CostCache
from graphopt.cost.record import Basis, KernelCost, Provenance
from graphopt.errors import GraphoptError
from graphopt.kernels.calls import kernel_facts, network_calls, workload_key
from graphopt.kernels.keys import target_key
from graphopt.kernels.model import KernelFacts, price
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress
from graphopt.tuning.databases import TunedKernels, tuned_kernels, tuning_state

Bounds = tuple[float, float, float]  # milliseconds: middle, low, high


@dataclass(frozen=True)
class Kernel:
    key: str
    facts: KernelFacts
    calls: int
    in_parts: bool


@dataclass(frozen=True)
class Timed:
    """The price of one call, and the `facts` that it follows from by the model; None where it was measured."""

    bounds: Bounds
    basis: Basis
    facts: KernelFacts | None


def estimate(
    model: onnx.ModelProto, target: GpuTarget, cache: CostCache, say: Progress
) -> tuple[Bounds, Provenance, tuple[KernelCost, ...]]:
    """Bounds, what they are, and the kernels that they are the sum of. A sum of kernels that were all measured over
    RPC is `measured`.
    """
    prices, rows = [], []
    for kernel, found in timed(network_kernels(model, target, cache, say), target, cache):
        facts, calls = kernel.facts, kernel.calls
        prices.append((calls, found.bounds))
        rows.append(
            KernelCost(
                name=facts.name,
                kind=facts.kind,
                calls=calls,
                ms=calls * found.bounds[0],
                macs=calls * facts.macs,
                bytes_read=calls * facts.bytes_read,
                bytes_written=calls * facts.bytes_written,
                basis=found.basis,
            )
        )
    latency, low, high = (fsum(calls * bounds[i] for calls, bounds in prices) for i in range(3))
    provenance: Provenance = "measured" if rows and all(row.basis == "measured" for row in rows) else "estimated"
    return (latency, low, high), provenance, tuple(rows)


def network_kernels(model: onnx.ModelProto, target: GpuTarget, cache: CostCache, say: Progress) -> list[Kernel]:
    """The distinct kernels that TVM makes of the model.

    A kernel is lowered once for each target's limits, whatever graphs it occurs in. One that TVM cannot compile is
    replaced by the kernels of its single operators, named `KERNEL/OPERATOR`.
    """
    from graphopt.kernels.lowering import kernel_parts

    calls = network_calls(model, target, cache)
    kernels = []
    for done, call in enumerate(calls):
        try:
            facts = kernel_facts(call, target, cache)
            kernels.append(Kernel(workload_key(call.function), facts, call.calls, False))
        except GraphoptError:
            parts = kernel_parts(model, target, call.name)
            if not parts:
                raise
            for part in parts:
                facts = kernel_facts(part, target, cache)
                kernels.append(Kernel(workload_key(part.function), facts, call.calls, True))
        say((done + 1) / len(calls), f"{target.name}: {call.name}")
    return kernels


def timed(kernels: Iterable[Kernel], target: GpuTarget, cache: CostCache) -> Iterator[tuple[Kernel, Timed]]:
    """Measured over RPC, before estimated of a tuned schedule that beats TVM's default one, before that one's price."""
    tuned = _tuned(target, cache)
    for kernel in kernels:
        measured = tuned.times_ms(kernel.key)
        if measured is not None:
            yield kernel, Timed(measured, "measured", None)
            continue
        default = price(kernel.facts, target)
        best = tuned.estimated.best(kernel.key)
        if best is not None and best.facts is not None and 1e3 * best.seconds < default[0]:
            facts = KernelFacts.from_dict(best.facts)
            yield kernel, Timed(price(facts, target), "tuned", facts)
        else:
            yield kernel, Timed(default, "parts" if kernel.in_parts else "model", kernel.facts)


def _tuned(target: GpuTarget, cache: CostCache) -> TunedKernels:
    folder = cache.folder / "tuning"
    key = f"{target_key(target)}:{tuning_state(folder, target)}"
    if key not in cache.tuned:
        cache.tuned[key] = tuned_kernels(folder, target)
    found: TunedKernels = cache.tuned[key]
    return found
