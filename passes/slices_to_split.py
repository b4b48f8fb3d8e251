"""slices-to-split: slices that share out a tensor become one Split. Exact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from graphopt import Contract, Pass, Site, Stage
from graphopt.idioms import range_of_slice

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
        outputs = {tensor.name for tensor in graph.graph.outputs}
        parts: dict[tuple[str, int], list[tuple[int, int, Any]]] = defaultdict(list)
        for node in graph.nodes.values():
            found = range_of_slice(node) if node.op == "Slice" else None
            if found is not None and node.outputs[0].name not in outputs:
                axis, start, end = found
                parts[node.inputs[0].name, axis].append((start, end, node))
        for (name, axis), ranges in parts.items():
            ranges.sort(key=lambda part: part[:2])
            starts, ends = [part[0] for part in ranges], [part[1] for part in ranges]
            nodes = [part[2] for part in ranges]
            whole = graph.tensors[name].shape[axis]
            if len(ranges) < 2:
                continue
            if [0, *ends] != [*starts, whole]:
                graph.refuse(nodes[0].name, f"the slices of {name} do not share out its {whole} along axis {axis}")
                continue
            ordered = tuple(node.name for node in graph.nodes.values() if node in nodes)
            made = {f"part_{i}": node.outputs[0].name for i, node in enumerate(nodes)}
            yield Site(f"{nodes[0].name}/split", ordered, {"x": name}, made)

    def rewrite(self, site: Site, build: Build) -> object:
        before = build.shape("x")
        after = [build.shape(role) for role in site.outputs]
        axis = next(i for i, size in enumerate(before) if after[0][i] != size)
        parts = build.split(build.input("x"), [shape[axis] for shape in after], axis)
        return dict(zip(site.outputs, parts, strict=True))
