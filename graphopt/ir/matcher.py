"""Finds patterns in a graph: anchored at an indexed root, in a fixed order; on request, says why one does not fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import onnx_graphsurgeon as gs

from graphopt.ir.attributes import attribute, from_zero
from graphopt.ir.near_misses import NearMiss, in_words
from graphopt.ir.patterns import COMPUTED, CONSTANT, Capture, Constant, Either, Op, Pattern, Term, Variable

Goal = tuple[Term | None, Any, gs.Node, int]  # a term, the tensor that it should be, and who reads it as which operand
Way = tuple[Goal, ...]
Goals = tuple[Goal, Any] | None  # one goal, and those after it
NAMED = (Constant, Capture)
NOTHING_LEFT: tuple[Way] = ((),)


@dataclass(frozen=True)
class Match:
    """One anchored occurrence: terms of the pattern bound to tensors, and the nodes that they cover."""

    anchor: gs.Node
    nodes: tuple[gs.Node, ...]
    inputs: dict[str, gs.Tensor]
    constants: dict[str, gs.Constant]
    captures: dict[str, gs.Tensor]
    output: gs.Tensor
    shorter: frozenset[str] = frozenset()  # nodes inside at which the pattern fits too, without an optional end


class Matcher:
    """An index of a graph's nodes, or some of them, by kind. Make a new one after the graph has changed."""

    def __init__(self, nodes: Sequence[gs.Node]):
        self._order = {id(node): position for position, node in enumerate(nodes)}
        self._by_kind: dict[str, list[gs.Node]] = defaultdict(list)
        for node in nodes:
            self._by_kind[node.op].append(node)

    def anchors(self, pattern: Pattern) -> list[gs.Node]:
        """Nodes at which the pattern could end, in their order."""
        found = [node for kind in pattern.anchors() for node in self._by_kind[kind]]
        return sorted(found, key=lambda node: self._order[id(node)])

    def match(self, pattern: Pattern, anchor: gs.Node) -> Match | None:
        """The first match that ends at `anchor`; None, too, where it reaches beyond the matcher's nodes."""
        if not any(any(_orders(form, anchor.inputs)) for form in pattern.forms_by_kind.get(anchor.op, ())):
            return None  # most anchors, at a glance
        attempt = _Attempt(anchor)
        tensor = attempt.at_an_output(pattern)
        return None if tensor is None else self._as_match(pattern, anchor, tensor, attempt.bound)

    def near_miss(self, pattern: Pattern, anchor: gs.Node) -> NearMiss:
        """How far matching comes at an `anchor` without a match. A second walk: most failures interest nobody."""
        attempt = _Attempt(anchor, thorough=True)
        if attempt.at_an_output(pattern) is not None:
            raise ValueError(f"{pattern.name} matches at {anchor.name}")
        return in_words(anchor, *attempt.furthest) if attempt.furthest else NearMiss(anchor)

    def _as_match(
        self, pattern: Pattern, anchor: gs.Node, output: gs.Tensor, bound: dict[Term, gs.Tensor]
    ) -> Match | None:
        nodes: dict[int, gs.Node] = {}
        inputs: dict[str, gs.Tensor] = {}
        constants: dict[str, gs.Constant] = {}
        captures: dict[str, gs.Tensor] = {}
        for term, tensor in bound.items():
            if isinstance(term, Op):
                node = tensor.inputs[0]
                position = self._order.get(id(node))
                if position is None:
                    return None
                nodes[position] = node
            elif isinstance(term, Variable):
                inputs[term.name] = tensor
            elif isinstance(term, NAMED) and term.name is not None:
                (constants if isinstance(tensor, gs.Constant) else captures)[term.name] = tensor
        return Match(
            anchor=anchor,
            nodes=tuple(nodes[position] for position in sorted(nodes)),
            inputs={name: inputs[name] for name in pattern.inputs if name in inputs},
            constants=constants,
            captures=captures,
            output=output,
            shorter=frozenset(bound[form].inputs[0].name for form in pattern.forms if form in bound),
        )


class _Attempt:
    """One try at one anchor. Goals are met from the left; a choice that turns out to be wrong is undone.

    A `thorough` try follows ways too whose first kind of node is wrong, to see how far they come.
    """

    def __init__(self, anchor: gs.Node, *, thorough: bool = False):
        self.anchor = anchor
        self.thorough = thorough
        self.bound: dict[Term, Any] = {}  # in the order of binding
        self.matched = 0  # nodes
        self.furthest: tuple[int, gs.Node, int | str, Any, Any] | None = None  # matched, and what then did not fit

    def at_an_output(self, pattern: Pattern) -> gs.Tensor | None:
        """The output of the anchor that the pattern's root fits, or None."""
        for tensor in self.anchor.outputs:
            if self.fit(((pattern.root, tensor, self.anchor, 0), None)):
                return tensor
            self.undo(0, 0)
        return None

    def undo(self, bound: int, matched: int) -> None:
        """Back to the first `bound` bindings."""
        while len(self.bound) > bound:
            self.bound.popitem()
        self.matched = matched

    def fit(self, goals: Goals) -> bool:
        """Whether every goal can be met, given what is bound already. If so, `bound` says how."""
        bound = self.bound
        while goals is not None:
            (term, tensor, reader, position), goals = goals
            if term is None:
                if tensor is not None and tensor.name:
                    self._missed(reader, position, None, tensor)
                    return False
                continue
            if tensor is None or not tensor.name:
                self._missed(reader, position, term, None)
                return False
            known = bound.get(term)
            if known is tensor:
                continue
            if known is not None:
                self._missed(reader, position, known, tensor)
                return False
            if isinstance(term, Op):
                ways = self._ways_of_op(term, tensor, reader, position)
            elif isinstance(term, Either) and not self.thorough and len(only := term.that_take(_head(tensor))) == 1:
                bound[term] = tensor
                goals = (only[0], tensor, reader, position), goals
                continue
            else:
                ways = self._ways(term, tensor, reader, position)
            if not ways:
                return False
            bound[term] = tensor
            if len(ways) > 1:
                for way in ways[:-1]:
                    state = len(bound), self.matched
                    if self.fit(_before(way, goals)):
                        return True
                    self.undo(*state)
            goals = _before(ways[-1], goals)
        return True

    def _ways(self, term: Term, tensor: gs.Tensor, reader: gs.Node, position: int) -> Sequence[Way]:
        """Each way in which `term` can be `tensor`, as the goals that it leaves. Empty where there is none."""
        if isinstance(term, Either):
            plausible = term.alternatives if self.thorough else term.that_take(_head(tensor))
            return [((o, tensor, reader, position),) for o in plausible] or self._missed(reader, position, term, tensor)
        if isinstance(term, Constant):
            if isinstance(tensor, gs.Constant) and (term.condition is None or term.condition(tensor.values)):
                return NOTHING_LEFT
        elif isinstance(term, Variable):
            if not isinstance(tensor, gs.Constant):
                return NOTHING_LEFT
        elif isinstance(term, Capture):
            return (((term.term, tensor, reader, position),),)
        return self._missed(reader, position, term, tensor)

    def _ways_of_op(self, term: Op, tensor: gs.Tensor, reader: gs.Node, position: int) -> Sequence[Way]:
        node = tensor.inputs[0] if tensor.inputs else None
        if node is None or node.op != term.kind:
            return self._missed(reader, position, term, tensor)
        if len(node.outputs) <= term.output or node.outputs[term.output] is not tensor:
            return self._missed(reader, position, term, tensor)
        for name, wanted in term.attributes.items():
            value = attribute(node, name)
            if value == wanted or (callable(wanted) and value is not None and wanted(value)):
                continue
            expected = from_zero(node, name, wanted)
            if value != expected:
                return self._missed(node, f"attribute {name}", expected, value)
        if term.where is not None and not term.where(node):
            return self._missed(node, "shapes", term.where, _shapes(node))
        self.matched += 1
        operands, count = node.inputs, len(term.operands)
        if len(operands) != count:
            for place, lost in enumerate(operands[count:], count):  # constants may be left out of a pattern
                if lost.name and not isinstance(lost, gs.Constant):
                    return self._missed(node, place, "no further operand", lost)
            operands = [*operands[:count], *[None] * (count - len(operands))]
        if count == 1:
            return (((term.operands[0], operands[0], node, 0),),)
        if count != 2:
            goals = zip(term.operands, operands, repeat(node), range(count), strict=False)
            return (tuple(goals),)
        (first, second), (a, b) = term.operands, operands
        if not term.commutative:
            return (((first, a, node, 0), (second, b, node, 1)),)
        in_order, swapped = (True, True) if self.thorough else _orders(term, operands)
        ways: list[Way] = []
        if in_order:
            ways.append(((first, a, node, 0), (second, b, node, 1)))
        if swapped:
            ways.append(((second, a, node, 0), (first, b, node, 1)))
        return ways

    def _missed(self, reader: gs.Node, part: int | str, expected: Any, found: Any) -> Sequence[Way]:
        """Notes the first thing that did not fit at the furthest point. No way leads on from there."""
        if self.matched > (self.furthest[0] if self.furthest else 0):
            self.furthest = self.matched, reader, part, expected, found
        return ()


def _shapes(node: gs.Node) -> str:
    read, made = ([tensor.shape for tensor in tensors[:1]] for tensors in (node.inputs, node.outputs))
    return f"{node.op} of {read[0] if read else 'nothing'} to {made[0]}"


def _before(way: Way, goals: Goals) -> Goals:
    for goal in reversed(way):
        goals = goal, goals
    return goals


def _orders(term: Op, operands: Sequence[gs.Tensor | None]) -> tuple[bool, bool]:
    """Whether two operands may fit as they are written, and swapped, by their heads alone."""
    if len(operands) != 2 or len(term.operands) != 2:
        return True, False
    (first, second), (a, b) = term.operands, operands
    if first is None or second is None or a is None or b is None:
        return True, term.commutative
    head_a, head_b = _head(a), _head(b)
    in_order = first.takes(head_a) and second.takes(head_b)
    return in_order, term.commutative and first.takes(head_b) and second.takes(head_a)


def _head(tensor: gs.Tensor) -> str:
    """The kind of node that computes a tensor, CONSTANT, or COMPUTED for an input of the graph."""
    if isinstance(tensor, gs.Constant):
        return CONSTANT
    return tensor.inputs[0].op if tensor.inputs else COMPUTED
