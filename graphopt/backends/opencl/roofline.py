"""A GPU's price by kind of kernel and by block, and how far each is from the device's limits.

The limit is the roofline of S. Williams et al. (CACM 2009) at the device's own figures, with nothing lost: a kernel
takes at least MACs / (peak / 2), and at least its compulsory bytes / DRAM bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from graphopt.backends.breakdown import Breakdown, Part, block_models
from graphopt.cost.record import KernelCost, NetworkCost
from graphopt.kernels.target import GpuTarget

Price = Callable[[onnx.ModelProto], NetworkCost]


def by_kind(cost: NetworkCost, target: GpuTarget) -> Breakdown:
    """The kinds of kernels in a price, the longest first."""
    kinds = [
        _part(kind, [kernel for kernel in cost.kernels if kernel.kind == kind], target)
        for kind in dict.fromkeys(kernel.kind for kernel in cost.kernels)
    ]
    kinds.sort(key=lambda part: -part.latency_ms)
    return Breakdown(sum(part.limit_ms for part in kinds), tuple(kinds), cost.kernels)


def by_block(model: onnx.ModelProto, target: GpuTarget, price: Price) -> list[Part]:
    """The blocks of a canonical model in its order, each compiled alone. Blocks of one shape are priced once."""
    parts: dict[str, list[KernelCost]] = {}
    for block, region in block_models(model):
        parts.setdefault(block, []).extend(price(region).kernels)
    return [_part(block, kernels, target) for block, kernels in parts.items()]


def limit_ms(kernel: KernelCost, target: GpuTarget) -> float:
    """The roofline of one kernel's calls."""
    arithmetic = 2 * kernel.macs / (target.peak_gflops * 1e6)
    memory = (kernel.bytes_read + kernel.bytes_written) / (target.fact("dram_bandwidth") * 1e6)
    return max(arithmetic, memory)


def _part(name: str, kernels: Sequence[KernelCost], target: GpuTarget) -> Part:
    return Part(
        name=name,
        calls=sum(kernel.calls for kernel in kernels),
        latency_ms=sum(kernel.ms for kernel in kernels),
        limit_ms=sum(limit_ms(kernel, target) for kernel in kernels),
        macs=sum(kernel.macs for kernel in kernels),
        bytes_moved=sum(kernel.bytes_read + kernel.bytes_written for kernel in kernels),
    )
