"""bounded-gate: a clamp before each gate, so that gates cannot multiply values without bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Stage
from graphopt.idioms import gate

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@dataclass(frozen=True)
class BoundedGate(Pass):
    """a * b of [a, b] = x  ->  a * b of [a, b] = clip(x, low, high), with the range that calibration images reach.

    The clamp fuses into the convolution before it. It stands in the whole network before the search begins: it costs
    next to nothing, and without it networks whose norms became affine turn to NaN in training.
    """

    name: ClassVar[str] = "bounded-gate"
    contract: ClassVar[Contract] = Contract.APPROXIMATE
    stage: ClassVar[Stage] = Stage.PREPARE
    tolerance: ClassVar[float] = 0.01

    tail: float = 0.0005  # share of the values beyond each bound

    def __post_init__(self) -> None:
        if not 0 <= self.tail < 0.5:
            raise ValueError(f"option 'tail' is {self.tail}; expected a number from 0 to below 0.5")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def bounded(match: Match) -> str | None:
            if any(half.shape != match.output.shape for half in match.nodes[0].outputs):
                return "expected the product of two halves"
            producer = match.inputs["x"].inputs
            return "it is bounded already" if producer and producer[0].op == "Clip" else None

        return graph.find(gate, label="gate", unless=bounded)

    def rewrite(self, site: Site, build: Build) -> object:
        low, high = build.statistics.quantiles("x", self.tail, 1 - self.tail)
        half = build.shape("x")[1] // 2
        first, second = build.split(build.clip(build.input("x"), low, high), [half, half])
        return build.mul(first, second)
