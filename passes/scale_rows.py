"""scale-rows: a scale for each channel that is computed = the same for each pixel of a row. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, op, pattern

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def scaled(x: Term, scale: Term) -> Term:
    return op.Mul(x, scale)


@dataclass(frozen=True)
class ScaleRows(Pass):
    """x * s, with s (N, C, 1, 1)  ->  x * expand(s), (N, C, 1, W).

    For runtimes that keep integers with their channels last: what repeats every few bytes is multiplied run by run, and
    a row is a longer run than a pixel.
    """

    name: ClassVar[str] = "scale-rows"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(scaled, label="scale-rows", unless=_unless)

    def rewrite(self, site: Site, build: Build) -> object:
        roles = sorted(("x", "scale"), key=lambda role: build.shape(role)[2:] == (1, 1))
        images, channels, _, width = build.shape(roles[0])
        shape = build.constant("shape", [images, channels, 1, width])
        return build.mul(build.input(roles[0]), build.op("Expand", [build.input(roles[1]), shape]))


def _unless(match: Match) -> str | None:
    shapes = sorted((tuple(tensor.shape) for tensor in match.inputs.values()), key=lambda shape: shape[2:] == (1, 1))
    if len(shapes) == 2 and len(shapes[0]) == 4 and shapes[1] == (*shapes[0][:2], 1, 1) and shapes[0][3] > 1:
        return None
    return f"expected an image and a scale for each of its channels, found {' and '.join(map(str, shapes))}"
