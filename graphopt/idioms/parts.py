"""Tensors that are shared out along an axis: by a Split, or by slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphopt.idioms.gates import range_of_slice

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from graphopt.ir.view import GraphView


@dataclass(frozen=True)
class Parts:
    """`whole` is shared out along `axis` by `nodes`, which stand in the graph's order; `parts` in that of the axis."""

    whole: gs.Tensor
    axis: int
    nodes: tuple[gs.Node, ...]
    parts: tuple[gs.Tensor, ...]


def split_parts(graph: GraphView) -> Iterator[Parts]:
    """Every Split of a tensor whose shape is known."""
    for node in graph.nodes.values():
        if node.op == "Split" and node.inputs[0].shape:
            axis = int(node.attrs.get("axis", 0)) % len(node.inputs[0].shape)
            yield Parts(node.inputs[0], axis, (node,), tuple(node.outputs))


def sliced_parts(graph: GraphView) -> Iterator[Parts]:
    """Slices in steps of 1 that together are a Split. Those that overlap or leave a gap are refused."""
    outputs = {tensor.name for tensor in graph.graph.outputs}
    found: dict[tuple[str, int], list[tuple[int, int, gs.Node]]] = defaultdict(list)
    for node in graph.nodes.values():
        range_of = range_of_slice(node) if node.op == "Slice" else None
        if range_of is not None and node.outputs[0].name not in outputs:
            axis, start, end = range_of
            found[node.inputs[0].name, axis].append((start, end, node))
    for (name, axis), ranges in found.items():
        nodes = tuple(node for _, _, node in ranges)
        ranges.sort(key=lambda part: part[:2])
        starts, ends = [part[0] for part in ranges], [part[1] for part in ranges]
        whole = graph.tensors[name]
        if len(ranges) < 2:
            continue
        if [0, *ends] != [*starts, whole.shape[axis]]:
            first = ranges[0][2].name
            graph.refuse(first, f"the slices of {name} do not share out its {whole.shape[axis]} along axis {axis}")
            continue
        yield Parts(whole, axis, nodes, tuple(node.outputs[0] for _, _, node in ranges))
