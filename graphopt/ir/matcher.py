"""Finds patterns in a graph: anchored at an indexed root, in a fixed order; on request, says why one does not fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from graphopt.ir.patterns import Capture, Constant, Either, Op, Pattern, Term, Variable

# Where newer opsets take an attribute's value from an input; the axes of every reduction are input 1.
INPUT_ATTRIBUTES = {("Split", "split"): 1, ("Clip", "min"): 1, ("Clip", "max"): 2, ("Pad", "pads"): 1}
AXES_INPUTS = frozenset({"Squeeze", "Unsqueeze"})


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
    """The furthest that matching came at one anchor, and the first thing that did not fit there.

    `node` reads what did not fit as its `part` (`operand 1`, `attribute axes`).
    """

    anchor: gs.Node
    matched: int = 0  # nodes
    node: str = ""
    part: str = ""
    expected: str = ""
    found: str = ""

    @property
    def reason(self) -> str:
        where = f"{self.node}: {self.part}: " if self.part.startswith("attribute") else ""
        return f"{where}expected {self.expected}, found {self.found}"


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

    def match(self, pattern: Pattern, anchor: gs.Node) -> Match | None:
        """The first match that ends at `anchor`."""
        for tensor in anchor.outputs:
            for found in _fit(pattern.root, tensor, _Bindings(), anchor, 0, None):
                return self._as_match(pattern, anchor, tensor, found)
        return None

    def near_miss(self, pattern: Pattern, anchor: gs.Node) -> NearMiss:
        """How far matching comes at an `anchor` without a match. A second walk: most failures interest nobody."""
        miss = NearMiss(anchor)
        for tensor in anchor.outputs:
            for _ in _fit(pattern.root, tensor, _Bindings(), anchor, 0, miss):
                raise ValueError(f"{pattern.name} matches at {anchor.name}")
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


def _fit(
    term: Term, tensor: Any, bound: _Bindings, reader: gs.Node, position: int, miss: NearMiss | None
) -> Iterator[_Bindings]:
    """Every way in which `term` can be `tensor`, given what is bound already.

    `tensor` is operand `position` of `reader`; `miss`, if any, notes what does not fit.
    """
    if id(term) in bound.tensors:
        if bound.tensors[id(term)] is tensor:
            yield bound
        else:
            _missed(miss, bound, reader, position, bound.tensors[id(term)], tensor)
    elif isinstance(term, Op):
        yield from _fit_op(term, tensor, bound, reader, position, miss)
    elif isinstance(term, Variable):
        if isinstance(tensor, gs.Constant):
            _missed(miss, bound, reader, position, term, tensor)
        else:
            yield bound.bind(term, tensor, term.name)
    elif isinstance(term, Constant):
        if not isinstance(tensor, gs.Constant) or (term.condition is not None and not term.condition(tensor.values)):
            _missed(miss, bound, reader, position, term, tensor)
        else:
            yield bound.bind(term, tensor, term.name)
    elif isinstance(term, Capture):
        for found in _fit(term.term, tensor, bound, reader, position, miss):
            yield found.bind(term, tensor, term.name)
    elif isinstance(term, Either):
        for alternative in term.alternatives:
            for found in _fit(alternative, tensor, bound, reader, position, miss):
                yield found.bind(term, tensor)


def _fit_op(
    term: Op, tensor: Any, bound: _Bindings, reader: gs.Node, position: int, miss: NearMiss | None
) -> Iterator[_Bindings]:
    node = tensor.inputs[0] if tensor.inputs else None
    if node is None or node.op != term.kind or len(node.outputs) <= term.output:
        return _missed(miss, bound, reader, position, term, tensor)
    if node.outputs[term.output] is not tensor:
        return _missed(miss, bound, reader, position, term, tensor)
    for name, wanted in term.attributes.items():
        value, expected = attribute(node, name), _from_zero(node, name, wanted)
        if value != expected and not (callable(expected) and value is not None and expected(value)):
            return _missed(miss, bound, node, f"attribute {name}", expected, value)
    inside = bound.bind(term, tensor, node=node)
    orders = [term.operands]
    if term.commutative and len(term.operands) == 2:
        orders.append(term.operands[::-1])
    for operands in orders:
        yield from _fit_operands(operands, node.inputs, inside, node, 0, miss)


def _fit_operands(
    terms: tuple[Term | None, ...],
    tensors: list[Any],
    bound: _Bindings,
    node: gs.Node,
    position: int,
    miss: NearMiss | None,
) -> Iterator[_Bindings]:
    if not terms:
        rest = [tensor for tensor in tensors if isinstance(tensor, gs.Variable) and not tensor.is_empty()]
        if rest:  # constants may be left out of a pattern, a computed tensor would be lost
            _missed(miss, bound, node, position, "no further operand", rest[0])
        else:
            yield bound
        return
    first, tensor = terms[0], tensors[0] if tensors else None
    if first is None:
        if tensor is None or tensor.is_empty():
            yield from _fit_operands(terms[1:], tensors[1:], bound, node, position + 1, miss)
        else:
            _missed(miss, bound, node, position, "no operand", tensor)
    elif tensor is None or tensor.is_empty():
        _missed(miss, bound, node, position, first, None)
    else:
        for found in _fit(first, tensor, bound, node, position, miss):
            yield from _fit_operands(terms[1:], tensors[1:], found, node, position + 1, miss)


def _missed(miss: NearMiss | None, bound: _Bindings, node: gs.Node, part: int | str, expected: Any, found: Any) -> None:
    """Notes what did not fit, where matching came further than before."""
    if miss is not None and len(bound.nodes) > miss.matched:
        miss.matched, miss.node = len(bound.nodes), node.name
        miss.part = part if isinstance(part, str) else f"operand {part}"
        miss.expected, miss.found = _expected(expected), _found(expected, found)


def _expected(wanted: Any) -> str:
    if isinstance(wanted, Op):
        return wanted.kind if not wanted.output else f"output {wanted.output} of {wanted.kind}"
    if isinstance(wanted, Either):
        return " or ".join(dict.fromkeys(_expected(alternative) for alternative in wanted.alternatives))
    if isinstance(wanted, Capture):
        return _expected(wanted.term)
    if isinstance(wanted, Variable):
        return f"a computed tensor for '{wanted.name}'"
    if isinstance(wanted, Constant):
        return wanted.what
    if isinstance(wanted, gs.Tensor):
        return f"{wanted.name} again"
    return getattr(wanted, "__doc__", None) or "another value" if callable(wanted) else str(wanted)


def _found(wanted: Any, found: Any) -> str:
    if found is None and isinstance(wanted, Term):
        return "no operand"
    if not isinstance(found, gs.Tensor):
        return str(found)
    if isinstance(wanted, Op) and found.inputs:
        node = found.inputs[0]
        output = f"output {node.outputs.index(found)} of " if node.op == wanted.kind else ""
        return f"{output}{node.op} ({node.name})"
    if isinstance(wanted, Constant) and isinstance(found, gs.Constant):
        return f"{found.name} of shape {tuple(found.shape)}"
    if isinstance(wanted, gs.Tensor):
        return str(found.name)
    if isinstance(found, gs.Constant):
        return f"the constant {found.name}"
    return f"the {'computed tensor' if found.inputs else 'input of the network,'} {found.name}"


def attribute(node: gs.Node, name: str) -> Any:
    """An attribute's value, also where it is a constant input or ONNX's default. Lists come as tuples, axes >= 0."""
    value = node.attrs.get(name)
    position = INPUT_ATTRIBUTES.get((node.op, name))
    if name == "axes" and (node.op.startswith("Reduce") or node.op in AXES_INPUTS):
        position = 1
    if value is None and position is not None and len(node.inputs) > position:
        operand = node.inputs[position]
        value = operand.values.tolist() if isinstance(operand, gs.Constant) else None
    if value is None:
        value = _default_of_conv(node, name) if node.op == "Conv" else None
    if value is None:
        value = _defaults(node.op).get(name)
    return _from_zero(node, name, value)


def _from_zero(node: gs.Node, name: str, value: Any) -> Any:
    """A tuple for a list, and axes that count from the front."""
    rank = len(node.inputs[0].shape) if node.inputs and node.inputs[0].shape is not None else None
    if rank is not None and name == "axis" and isinstance(value, int):
        return value % rank
    if rank is not None and name == "axes" and value is not None and not callable(value):
        return tuple(sorted(int(axis) % rank for axis in np.atleast_1d(value)))
    return tuple(value) if isinstance(value, list) else value


def _default_of_conv(node: gs.Node, name: str) -> Any:
    """ONNX takes these from the weight: they have no default that could be looked up."""
    weight = node.inputs[1]
    if not isinstance(weight, gs.Constant):
        return None
    kernel = tuple(weight.values.shape[2:])
    same = node.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER") and max(kernel) > 1
    pads = None if same else (0,) * (2 * len(kernel))
    return {"kernel_shape": kernel, "strides": (1,) * len(kernel), "dilations": (1,) * len(kernel), "pads": pads}.get(
        name
    )


@cache
def _defaults(kind: str) -> dict[str, Any]:
    """What ONNX says of attributes that a node leaves out."""
    if not onnx.defs.has(kind):
        return {}
    attributes = onnx.defs.get_schema(kind).attributes.items()
    found = {name: onnx.helper.get_attribute_value(a.default_value) for name, a in attributes if a.default_value.type}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
