"""Layers that are kept wide together or not at all, found from the graph.

The numbers of a skip live long: they pass every sum of their level, and a rounding of each adds to those before. So a
tensor that skips something makes one group with all sums that it goes into. What is left between these falls into
pieces (the branches of the skips), which are divided further, convolution by convolution, as far as the number of
groups allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from graphopt.cost.counts import static_shapes
from graphopt.quantise.tensors import float_tensors

MOST = 64  # groups of a network: each is a graph to judge
_MULTIPLIES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_PASSES_ON = frozenset(  # what comes out are numbers that went in
    (
        "Clip", "Concat", "DepthToSpace", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Relu", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Tensors of a network, and the `name` of the first node that makes one of them (of the input, where it is)."""

    name: str
    tensors: frozenset[str]

    def nodes(self, model: onnx.ModelProto) -> list[onnx.NodeProto]:
        """Those that make or read one of the tensors."""
        return touching(model, self.tensors)


def touching(model: onnx.ModelProto, tensors: frozenset[str]) -> list[onnx.NodeProto]:
    """The nodes that make or read one of the tensors."""
    return [node for node in model.graph.node if not tensors.isdisjoint((*node.input, *node.output))]


def groups_of(model: onnx.ModelProto, most: int = MOST) -> list[Group]:
    """All float tensors of a model with static shapes but its constants, each in one group, in the graph's order.

    At most so many where the skips alone do not make more.
    """
    tensors = float_tensors(model)
    joined = _Sets(tensors)
    streams = _join_streams(model, set(tensors), joined)
    pieces, counts = _pieces(model, tensors, joined, streams)
    for convolutions in range(1, max(counts.values(), default=0) + 2):
        keys = {name: joined.of(name) if name in streams else (place[0], place[1] // convolutions)
                for name, place in pieces.items()}  # fmt: skip
        if len(set(keys.values())) <= most:
            break
    makers = {name: node.name for node in model.graph.node for name in node.output}
    found: dict[object, list[str]] = {}
    for name in tensors:
        found.setdefault(keys[name], []).append(name)
    firsts = Counter(makers.get(names[0], names[0]) for names in found.values())
    return [
        Group(_name(makers.get(names[0], names[0]), names[0], firsts), frozenset(names)) for names in found.values()
    ]


def _name(maker: str, tensor: str, firsts: Counter[str]) -> str:
    """Of a split each output may begin a group: then the tensor tells them apart."""
    return maker if firsts[maker] == 1 else f"{maker}:{tensor}"


class _Sets:
    """Disjoint sets of names; each is called by one of them."""

    def __init__(self, names: Iterable[str]):
        self._parents = {name: name for name in names}

    def of(self, name: str) -> str:
        while self._parents[name] != name:
            self._parents[name] = self._parents[self._parents[name]]
            name = self._parents[name]
        return name

    def join(self, names: Iterable[str]) -> None:
        first, *others = [self.of(name) for name in names]
        for other in others:
            self._parents[other] = first


def _join_streams(model: onnx.ModelProto, tensors: set[str], joined: _Sets) -> set[str]:
    """Joins each sum with the tensor that skips what is added to it; returns all names of these."""
    shapes, before, streams = static_shapes(model), dict[str, set[str]](), set[str]()
    for node in model.graph.node:
        read = [name for name in node.input if name in tensors]
        above = set(read).union(*(before.get(name, set()) for name in read))
        before |= dict.fromkeys(node.output, above)
        if node.op_type != "Add" or len(read) != 2 or len({shapes[name] for name in read}) > 1:
            continue
        first, second = read
        skips = first if first in before.get(second, ()) else second if second in before.get(first, ()) else ""
        if skips:
            joined.join((skips, node.output[0]))
            streams |= {skips, node.output[0]}
    return streams


def _pieces(
    model: onnx.ModelProto, tensors: list[str], joined: _Sets, streams: set[str]
) -> tuple[dict[str, tuple[str, int]], dict[str, int]]:
    """For every tensor the piece that it lies in, and its place among the convolutions of the piece; for every
    piece how many these are.
    """
    known, shared, whole = set(tensors), _Sets(tensors), _Sets(tensors)
    for node in model.graph.node:
        inner = [name for name in (*node.input, *node.output) if name in known and name not in streams]
        if inner:
            whole.join(inner)
            if node.op_type in _PASSES_ON:
                shared.join(inner)
    counts, before = dict[str, int](), dict[str, int]()
    makers = {name: node for node in model.graph.node for name in node.output}
    for name in tensors:
        piece, numbers = whole.of(name), shared.of(name)
        if name in makers and makers[name].op_type in _MULTIPLIES:
            counts[piece] = counts.get(piece, 0) + 1
        before.setdefault(numbers, counts.get(piece, 0))
    return {name: (whole.of(name), before[shared.of(name)]) for name in tensors}, counts
