"""Structure of a graph, as networkx sees it: convex regions, their contexts, and regions as graphs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import networkx as nx
import onnx_graphsurgeon as gs

from graphopt.ir.fragments import Fragment, copied_once

ANCHORS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})  # kernels into which the ops around them fuse


class Regions:
    """A graph's nodes by name, and their order of computation. Make a new one after the graph has changed."""

    def __init__(self, graph: gs.Graph):
        self.graph = graph

    @cached_property
    def nodes(self) -> dict[str, gs.Node]:
        return {node.name: node for node in self.graph.nodes}

    @cached_property
    def order(self) -> dict[str, int]:
        return {node.name: position for position, node in enumerate(self.graph.nodes)}

    @cached_property
    def flow(self) -> nx.DiGraph:
        """An edge from each node to those that read what it computes."""
        flow = nx.DiGraph()
        flow.add_nodes_from(self.nodes)
        for node in self.graph.nodes:
            flow.add_edges_from((node.name, user.name) for out in node.outputs for user in out.outputs)
        return flow

    def sort(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=self.order.__getitem__)

    def why_not_convex(self, names: Collection[str]) -> str | None:
        """Names a node outside through which a path leaves the region and comes back; None where it is convex."""
        inside = set(names)
        first, last = min(self.order[n] for n in inside), max(self.order[n] for n in inside)
        leaving = {user for name in inside for user in self.flow.successors(name)} - inside
        seen: set[str] = set()
        while leaving:
            name = leaving.pop()
            if name in seen or not first <= self.order[name] <= last:
                continue
            seen.add(name)
            for user in self.flow.successors(name):
                if user in inside:
                    return f"a path leaves it through {name} and comes back at {user}"
                leaving.add(user)
        return None

    def boundary(self, names: Collection[str]) -> tuple[list[gs.Variable], list[gs.Variable]]:
        """The computed tensors that a region reads from outside, and those of its own that are used outside."""
        inside = set(names)
        graph_outputs = {id(tensor) for tensor in self.graph.outputs}
        inputs: dict[str, gs.Variable] = {}
        outputs: dict[str, gs.Variable] = {}
        for name in self.sort(inside):
            node = self.nodes[name]
            for tensor in node.inputs:
                is_computed = isinstance(tensor, gs.Variable) and not tensor.is_empty()
                if is_computed and not (tensor.inputs and tensor.inputs[0].name in inside):
                    inputs[tensor.name] = tensor
            for tensor in node.outputs:
                if id(tensor) in graph_outputs or any(user.name not in inside for user in tensor.outputs):
                    outputs[tensor.name] = tensor
        return list(inputs.values()), list(outputs.values())

    def context(self, names: Collection[str]) -> list[str]:
        """The region, and what would fuse or fold with it: upstream to the nearest anchors, downstream past them.

        Upstream through tensors with one user only: a tensor with more is stored in any case. Downstream an anchor
        is followed by its epilogue, since an affine that folds into the anchor changes nothing behind it.
        """
        inside = set(names)
        found = set(inside)
        inputs, outputs = self.boundary(names)
        pending = [tensor for tensor in inputs if self._only_used_by(tensor, found)]
        while pending:
            tensor = pending.pop()
            if not tensor.inputs:
                continue
            node = tensor.inputs[0]
            found.add(node.name)
            if node.op not in ANCHORS:
                pending += [t for t in node.inputs if isinstance(t, gs.Variable) and self._only_used_by(t, found)]
        ahead = [(user, False) for tensor in outputs for user in tensor.outputs]
        while ahead:
            node, past_anchor = ahead.pop()
            if node.name in found or (past_anchor and node.op in ANCHORS):
                continue
            found.add(node.name)
            passed = past_anchor or node.op in ANCHORS
            if any(len(out.outputs) != 1 for out in node.outputs):
                continue  # a tensor with several users is stored, before an anchor and behind it
            if past_anchor and node.op not in ("Mul", "Add", "Clip", "Relu"):
                continue
            ahead += [(user, passed) for out in node.outputs for user in out.outputs]
        return self.sort(found)

    def _only_used_by(self, tensor: gs.Tensor, names: Collection[str]) -> bool:
        return bool(tensor.inputs) and all(user.name in names for user in tensor.outputs)


def region_graph(
    regions: Regions, names: Collection[str], fragment: Fragment | None = None, cut: Collection[str] = ()
) -> gs.Graph:
    """The region `names` as a graph of its own; with a `fragment`, that stands in place of the nodes `cut`."""
    inputs, outputs = regions.boundary(names)
    copies: dict[str, gs.Tensor] = {}

    def copy(tensor: gs.Tensor) -> gs.Tensor:
        return copied_once(tensor, copies)

    replaced: Mapping[str, gs.Tensor] = fragment.outputs if fragment else {}
    nodes = []

    def emit(node: gs.Node, rename: Mapping[str, gs.Tensor]) -> None:
        operands = [copy(rename.get(t.name, t)) for t in node.inputs]
        nodes.append(gs.Node(node.op, node.name, dict(node.attrs), operands, [copy(t) for t in node.outputs]))

    removed = set(cut)
    placed = fragment is None
    for name in regions.sort(names):
        if name in removed:
            if not placed and fragment is not None:
                for made in fragment.nodes:
                    emit(made, {})
                placed = True
            continue
        emit(regions.nodes[name], replaced)
    given = {tensor.name for tensor in inputs} | {tensor.name for node in nodes for tensor in node.outputs}
    for node in fragment.nodes if fragment else ():  # a fragment may read what its site does not: the network's input
        inputs += [t for t in node.inputs if isinstance(t, gs.Variable) and not t.is_empty() and t.name not in given]
        given |= {tensor.name for tensor in node.inputs}
    graph = gs.Graph(
        nodes,
        [copy(tensor) for tensor in inputs],
        [copy(replaced.get(tensor.name, tensor)) for tensor in outputs],
        opset=regions.graph.opset,
        name="region",
    )
    for tensor in graph.outputs:
        tensor.dtype = tensor.dtype or "float32"
    used = {id(t) for node in nodes for t in node.inputs} | {id(t) for t in graph.outputs}
    graph.inputs = [tensor for tensor in graph.inputs if id(tensor) in used]
    return graph
