"""Finds patterns in a graph: anchored at an indexed root, in a deterministic order, with the reason where one nearly fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx_graphsurgeon as gs

from graphopt.ir.patterns import Capture, Constant, Either, Op, Pattern, Term, Variable

# Where newer opsets take an attribute's value from an input.
INPUT_ATTRIBUTES = {("ReduceMean", "axes"): 1, ("ReduceSum", "axes"): 1, ("Split", "split"): 1, ("Clip", "min"): 1}


@dataclass(frozen=True)
class Match:
    """One anchored occurrence: terms of the pattern bound to tensors, and the nodes that they cover."""

    anchor: gs.Node
    nodes: tuple[gs.Node, ...]
    inputs: dict[str, gs.Tensor]
    constants: dict[str, gs.Constant]
    captures: dict[str, gs.Tensor]
    output: gs.Tensor


@dataclass
class NearMiss:
    """The furthest that matching came at one anchor, and the first thing that did not fit there."""

    anchor: gs.Node
    matched: int = 0
    reason: str = ""


@dataclass(frozen=True)
class _Bindings:
    tensors: dict[int, Any] = field(default_factory=dict)  # id(term) -> tensor
    names: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[Any, ...] = ()

    def bind(self, term: Term, tensor: Any, name: str | None = None, node: Any = None) -> _Bindings:
        names = self.names if name is None else {**self.names, name: tensor}
        nodes = self.nodes if node is None or node in self.nodes else (*self.nodes, node)
        return _Bindings({**self.tensors, id(term): tensor}, names, nodes)


class Matcher:
    """An index of a graph by kind of node. Make a new one after the graph has changed."""

    def __init__(self, graph: gs.Graph):
        self._order = {id(node): position for position, node in enumerate(graph.nodes)}
        self._by_kind: dict[str, list[gs.Node]] = defaultdict(list)
        for node in graph.nodes:
            self._by_kind[node.op].append(node)

    def anchors(self, pattern: Pattern) -> list[gs.Node]:
        """Nodes at which the pattern could end, in the graph's order."""
        found = [node for kind in pattern.anchors() for node in self._by_kind[kind]]
        return sorted(found, key=lambda node: self._order[id(node)])

    def match(self, pattern: Pattern, anchor: gs.Node) -> Match | NearMiss:
        """The first match that ends at `anchor`, or how far it came."""
        miss = NearMiss(anchor)
        for tensor in anchor.outputs:
            for found in _fit(pattern.root, tensor, _Bindings(), miss):
                return self._as_match(pattern, anchor, tensor, found)
        return miss

    def _as_match(self, pattern: Pattern, anchor: gs.Node, tensor: gs.Tensor, found: _Bindings) -> Match:
        inputs = {name: found.names[name] for name in pattern.inputs if name in found.names}
        rest = {name: value for name, value in found.names.items() if name not in inputs}
        return Match(
            anchor=anchor,
            nodes=tuple(sorted(found.nodes, key=lambda node: self._order[id(node)])),
            inputs=inputs,
            constants={name: value for name, value in rest.items() if isinstance(value, gs.Constant)},
            captures={name: value for name, value in rest.items() if not isinstance(value, gs.Constant)},
            output=tensor,
        )


def _fit(term: Term, tensor: Any, bound: _Bindings, miss: NearMiss) -> Iterator[_Bindings]:
    """Every way in which `term` can be `tensor`, given what is bound already."""
    if id(term) in bound.tensors:
        if bound.tensors[id(term)] is tensor:
            yield bound
        else:
            _missed(miss, bound, f"expected {bound.tensors[id(term)].name} again, found {tensor.name}")
    elif isinstance(term, Op):
        yield from _fit_op(term, tensor, bound, miss)
    elif isinstance(term, Variable):
        if isinstance(tensor, gs.Constant):
            _missed(miss, bound, f"'{term.name}': expected a computed tensor, found the constant {tensor.name}")
        else:
            yield bound.bind(term, tensor, term.name)
    elif isinstance(term, Constant):
        if not isinstance(tensor, gs.Constant):
            _missed(miss, bound, f"expected {term.what}, found the computed tensor {tensor.name}")
        elif term.condition is not None and not term.condition(tensor.values):
            _missed(miss, bound, f"expected {term.what}, found {tensor.name} of shape {tuple(tensor.shape)}")
        else:
            yield bound.bind(term, tensor, term.name)
    elif isinstance(term, Capture):
        for found in _fit(term.term, tensor, bound, miss):
            yield found.bind(term, tensor, term.name)
    elif isinstance(term, Either):
        for alternative in term.alternatives:
            for found in _fit(alternative, tensor, bound, miss):
                yield found.bind(term, tensor)


def _fit_op(term: Op, tensor: Any, bound: _Bindings, miss: NearMiss) -> Iterator[_Bindings]:
    node = tensor.inputs[0] if tensor.inputs else None
    if node is None or node.op != term.kind:
        found = f"{node.op} ({node.name})" if node is not None else f"the tensor {tensor.name}"
        return _missed(miss, bound, f"expected {term.kind}, found {found}")
    if node.outputs[term.output] is not tensor:
        return _missed(miss, bound, f"{node.name}: expected its output {term.output}, found another")
    for name, expected in term.attributes.items():
        value = attribute(node, name)
        if value != expected and not (callable(expected) and value is not None and expected(value)):
            return _missed(miss, bound, f"{node.name}: attribute {name}: expected {_words(expected)}, found {value}")
    inside = bound.bind(term, tensor, node=node)
    orders = [term.operands]
    if term.commutative and len(term.operands) == 2:
        orders.append(term.operands[::-1])
    for operands in orders:
        yield from _fit_operands(operands, node.inputs, inside, miss)


def _fit_operands(
    terms: tuple[Term | None, ...], tensors: list[Any], bound: _Bindings, miss: NearMiss
) -> Iterator[_Bindings]:
    if not terms:
        yield bound
        return
    first, tensor = terms[0], tensors[0] if tensors else None
    missing = tensor is None or tensor.is_empty()
    if first is None:
        if missing:
            yield from _fit_operands(terms[1:], tensors[1:], bound, miss)
        else:
            _missed(miss, bound, f"expected no operand, found {tensor.name}")
    elif missing:
        _missed(miss, bound, "an operand is missing")
    else:
        for found in _fit(first, tensor, bound, miss):
            yield from _fit_operands(terms[1:], tensors[1:], found, miss)


def _missed(miss: NearMiss, bound: _Bindings, reason: str) -> None:
    if len(bound.nodes) > miss.matched:
        miss.matched, miss.reason = len(bound.nodes), reason


def _words(expected: Any) -> str:
    return getattr(expected, "__doc__", None) or "another value" if callable(expected) else str(expected)


def attribute(node: gs.Node, name: str) -> Any:
    """An attribute's value, also where the opset passes it as a constant input; lists come as tuples, axes >= 0."""
    value = node.attrs.get(name)
    position = INPUT_ATTRIBUTES.get((node.op, name))
    if value is None and position is not None and len(node.inputs) > position:
        operand = node.inputs[position]
        value = operand.values.tolist() if isinstance(operand, gs.Constant) else None
    if name == "axes" and value is not None and node.inputs[0].shape is not None:
        rank = len(node.inputs[0].shape)
        value = sorted(axis % rank for axis in value)
    return tuple(value) if isinstance(value, list) else value
