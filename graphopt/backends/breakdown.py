"""Where the time of a network goes, by kind of kernel and by block, and how far each is from the device's limits.

The limit is the roofline of S. Williams et al. (CACM 2009) at the device's own figures, with nothing lost: a kernel
takes at least MACs / (peak / 2), and at least its compulsory bytes / DRAM bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import onnx

from graphopt.backends.pricing import network_cost
from graphopt.cost.cache import CostCache
from graphopt.cost.record import KernelCost, NetworkCost
from graphopt.cost.target import Target
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.regions import Regions, region_graph


@dataclass(frozen=True)
class Part:
    """A share of a network's price. `limit_ms` is the roofline: what no schedule on this device goes below."""

    name: str
    calls: int
    latency_ms: float
    limit_ms: float
    macs: int
    bytes_moved: int


@dataclass(frozen=True)
class Breakdown:
    """`kinds` add up to the network's latency. `blocks`, where asked for, are compiled alone, so that their sum differs
    from it by `additivity` (a fraction): what fuses across their borders.
    """

    limit_ms: float | None
    kinds: tuple[Part, ...]
    kernels: tuple[KernelCost, ...]
    blocks: tuple[Part, ...] = ()
    additivity: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def break_down(
    cost: NetworkCost, target: Target, model: onnx.ModelProto | None = None, cache: CostCache | None = None
) -> Breakdown | None:
    """The breakdown of a price, by block too where `model` and `cache` are given. None where the whole was measured at
    once. An NPU's price has the terms of its regression for `kernels`, and neither kinds, blocks nor a roofline.
    """
    if target.kind == "llvm" or not cost.kernels:
        return None
    if target.kind == "qnn":
        return Breakdown(None, (), cost.kernels)
    kinds = [
        _part(kind, [kernel for kernel in cost.kernels if kernel.kind == kind], target)
        for kind in dict.fromkeys(kernel.kind for kernel in cost.kernels)
    ]
    kinds.sort(key=lambda part: -part.latency_ms)
    limit = sum(part.limit_ms for part in kinds)
    if model is None or cache is None:
        return Breakdown(limit, tuple(kinds), cost.kernels)
    blocks = by_block(model, target, cache)
    together = sum(part.latency_ms for part in blocks)
    return Breakdown(limit, tuple(kinds), cost.kernels, tuple(blocks), together / cost.latency_ms - 1)


def by_block(model: onnx.ModelProto, target: Target, cache: CostCache) -> list[Part]:
    """The blocks of a canonical model in its order, each compiled alone. Blocks of one shape are priced once."""
    parts: dict[str, list[KernelCost]] = {}
    for block, region in block_models(model):
        parts.setdefault(block, []).extend(network_cost(region, target, cache).kernels)
    return [_part(block, kernels, target) for block, kernels in parts.items()]


def block_models(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The blocks of a canonical model as models of their own; one that others interrupt comes in pieces."""
    graph = to_graph(model)
    regions = Regions(graph)
    for block, nodes in groupby(_blocks([node.name for node in graph.nodes]), key=lambda pair: pair[0]):
        yield block, to_model(region_graph(regions, [name for _, name in nodes]))


def _blocks(names: Sequence[str]) -> list[tuple[str, str]]:
    """(block, node): `encoders.0.1` of `encoders.0.1/norm1/sqrt`; an op outside modules goes with the one before it."""
    block, found = "network", []
    for name in names:
        block = name.partition("/")[0] if "/" in name else block
        found.append((block, name))
    return found


def _part(name: str, kernels: Sequence[KernelCost], target: Target) -> Part:
    return Part(
        name=name,
        calls=sum(kernel.calls for kernel in kernels),
        latency_ms=sum(kernel.ms for kernel in kernels),
        limit_ms=sum(limit_ms(kernel, target) for kernel in kernels),
        macs=sum(kernel.macs for kernel in kernels),
        bytes_moved=sum(kernel.bytes_read + kernel.bytes_written for kernel in kernels),
    )


def limit_ms(kernel: KernelCost, target: Target) -> float:
    """The roofline of one kernel's calls."""
    arithmetic = 2 * kernel.macs / (target.peak_gflops * 1e6)
    memory = (kernel.bytes_read + kernel.bytes_written) / (target.fact("dram_bandwidth") * 1e6)
    return max(arithmetic, memory)
