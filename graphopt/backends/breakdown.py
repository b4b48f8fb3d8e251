"""Where the time of a network goes: the parts of a price, and the blocks that a network can be cut into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import onnx

from graphopt.cost.record import KernelCost


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
    from it by `additivity` (a fraction): what fuses across their borders. `limit_ms` is None where there is no
    roofline, and the price is the sum of its `kernels`.
    """

    limit_ms: float | None
    kinds: tuple[Part, ...]
    kernels: tuple[KernelCost, ...]
    blocks: tuple[Part, ...] = ()
    additivity: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def block_models(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The blocks of a canonical model as models of their own; one that others interrupt comes in pieces."""
    from graphopt.ir.canonical import to_graph, to_model
    from graphopt.ir.regions import Regions, region_graph

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
