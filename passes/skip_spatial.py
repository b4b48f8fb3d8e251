"""skip-spatial: leaves out the first half of a NAFNet block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import spatial_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@pattern
def spatial(x: Term) -> Term:
    return spatial_of(x)


@dataclass(frozen=True)
class SkipSpatial(Pass):
    """x + beta * conv3(SCA(SG(dw3x3(conv1(LN x)))))  ->  x. The block is NAFNet's (arXiv 2204.04676)."""

    name: ClassVar[str] = "skip-spatial"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(spatial, label="spatial")

    def rewrite(self, site: Site, build: Build) -> object:
        return build.input("x")
