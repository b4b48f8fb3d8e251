"""skip-feed-forward: leaves out the second half of a NAFNet block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import feed_forward_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@pattern
def feed_forward(y: Term) -> Term:
    return feed_forward_of(y)


@dataclass(frozen=True)
class SkipFeedForward(Pass):
    """y + gamma * conv5(SG(conv4(LN y)))  ->  y."""

    name: ClassVar[str] = "skip-feed-forward"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(feed_forward, label="feed-forward")

    def rewrite(self, site: Site, build: Build) -> object:
        return build.input("y")
