"""skip-block: leaves out a whole NAFNet block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import feed_forward_of, spatial_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@pattern
def block(x: Term) -> Term:
    return feed_forward_of(spatial_of(x))


@dataclass(frozen=True)
class SkipBlock(Pass):
    """out of y = x + beta * spatial(LN x), out = y + gamma * feed_forward(LN y)  ->  x.

    The block is NAFNet's (arXiv 2204.04676); its halves are the sites of `skip-spatial` and `skip-feed-forward`.
    """

    name: ClassVar[str] = "skip-block"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(block, label="block")

    def rewrite(self, site: Site, build: Build) -> object:
        return build.input("x")
