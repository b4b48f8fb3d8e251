"""pooled-mean: the mean over height and width = GlobalAveragePool. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, op, pattern

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def plane_mean(x: Term) -> Term:
    return op.ReduceMean(x, axes=(2, 3), keepdims=1)


@dataclass(frozen=True)
class PooledMean(Pass):
    """ReduceMean over height and width  ->  GlobalAveragePool.

    Runtimes have kernels of integers, and of channels in blocks, for the pooling alone.
    """

    name: ClassVar[str] = "pooled-mean"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(plane_mean, label="plane-mean", unless=_not_an_image)

    def rewrite(self, site: Site, build: Build) -> object:
        return build.op("GlobalAveragePool", [build.input("x")])


def _not_an_image(match: Match) -> str | None:
    shape = match.inputs["x"].shape
    return None if len(shape) == 4 else f"expected a tensor of 4 dimensions, found {len(shape)}"
