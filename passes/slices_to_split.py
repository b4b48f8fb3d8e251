"""slices-to-split: slices that share out a tensor become one Split. Exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Site, Stage
from graphopt.idioms import sliced_parts

if TYPE_CHECKING:
    from graphopt import Build, GraphView


@dataclass(frozen=True)
class SlicesToSplit(Pass):
    """x[:, :a], x[:, a:b], ..., x[:, z:]  ->  Split(x, [a, b - a, ...]), along any one axis.

    torch's older exporter writes `chunk` and indexing so; one op in place of several is cheaper to run. It acts before
    the search: list it before `bounded-gate`. Slices that overlap, leave a gap or take steps stay.
    """

    name: ClassVar[str] = "slices-to-split"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.PREPARE

    def sites(self, graph: GraphView) -> Iterator[Site]:
        for found in sliced_parts(graph):
            made = {f"part_{i}": part.name for i, part in enumerate(found.parts)}
            nodes = tuple(node.name for node in found.nodes)
            yield Site(f"{found.parts[0].inputs[0].name}/split", nodes, {"x": found.whole.name}, made)

    def rewrite(self, site: Site, build: Build) -> object:
        before = build.shape("x")
        after = [build.shape(role) for role in site.outputs]
        axis = next(i for i, size in enumerate(before) if after[0][i] != size)
        parts = build.split(build.input("x"), [shape[axis] for shape in after], axis)
        return dict(zip(site.outputs, parts, strict=True))
