"""Patterns: a small Python function describes a subgraph, and reads like the mathematics that it matches.

    @pattern
    def scaled_by_its_mean(x):
        scale = op.Conv(op.ReduceMean(x, axes=(2, 3)), const("weight"), const("bias"))
        return op.Mul(x, capture("scale", scale))

Parameters of the function match any tensor; a name used twice must be the same tensor both times, and so must a
subexpression that is used twice. The idea of patterns as functions is onnxscript's; see also tinygrad's rules.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

Condition = Callable[[NDArray[Any]], bool]
COMMUTATIVE = frozenset({"Add", "Mul", "Min", "Max"})
CONSTANT, COMPUTED = "a constant", "a computed tensor"  # heads of terms that are no ops


@dataclass(frozen=True, eq=False)
class Term:
    """A part of a pattern. Terms are compared by identity: one term that is used twice is one tensor."""

    @cached_property
    def heads(self) -> frozenset[str]:
        """The kinds of node that can make the term's tensor, CONSTANT or COMPUTED: what is rejected early."""
        raise NotImplementedError

    @cached_property
    def ops(self) -> frozenset[Term]:
        """The ops of the form that is named first: of what is optional, all of it."""
        return frozenset()

    def takes(self, head: str) -> bool:
        """False where the head of a tensor alone says that the term cannot be that tensor."""
        return head in self.heads or (head is not CONSTANT and COMPUTED in self.heads)


@dataclass(frozen=True, eq=False)
class Variable(Term):
    """Any tensor that is computed outside the site, or the network's input."""

    name: str

    @cached_property
    def heads(self) -> frozenset[str]:
        return frozenset({COMPUTED})


@dataclass(frozen=True, eq=False)
class Constant(Term):
    """An initialiser, for which `condition` holds. `what` says the condition in words, for refusals."""

    name: str | None
    condition: Condition | None = None
    what: str = "a constant"

    @cached_property
    def heads(self) -> frozenset[str]:
        return frozenset({CONSTANT})


@dataclass(frozen=True, eq=False)
class Op(Term):
    """One node of `kind`, and what must be true of its operands and attributes."""

    kind: str
    operands: tuple[Term | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    output: int = 0
    commutative: bool = False
    where: Callable[[Any], bool] | None = None  # of the node; its docstring says in words what it asks for

    @cached_property
    def heads(self) -> frozenset[str]:
        return frozenset({self.kind})

    @cached_property
    def ops(self) -> frozenset[Term]:
        return frozenset({self}).union(*(operand.ops for operand in self.operands if operand is not None))


@dataclass(frozen=True, eq=False)
class Either(Term):
    """The first alternative that fits."""

    alternatives: tuple[Term, ...]

    @cached_property
    def heads(self) -> frozenset[str]:
        return frozenset().union(*(alternative.heads for alternative in self.alternatives))

    def that_take(self, head: str) -> tuple[Term, ...]:
        """The alternatives that can be a tensor of this head."""
        by_head = self._by_head
        return by_head[head] if head in by_head else by_head[COMPUTED]

    @cached_property
    def _by_head(self) -> Mapping[str, tuple[Term, ...]]:
        heads = self.heads | {CONSTANT, COMPUTED}
        return {head: tuple(term for term in self.alternatives if term.takes(head)) for head in heads}

    @cached_property
    def ops(self) -> frozenset[Term]:
        return self.alternatives[0].ops


@dataclass(frozen=True, eq=False)
class Capture(Term):
    """Gives the tensor of `term` a name, so that a pass can ask for its statistics."""

    name: str
    term: Term

    @cached_property
    def heads(self) -> frozenset[str]:
        return self.term.heads

    @cached_property
    def ops(self) -> frozenset[Term]:
        return self.term.ops


class _Ops:
    """`op.Conv(x, const("w"), group=1)`: operands in ONNX's order; trailing operands may be left out.

    `output=1` is the second output. `where=function` asks something of the node and its shapes:
    `function(node)` is True or False, and its docstring says for refusals what was expected.
    """

    def __getattr__(self, kind: str) -> Callable[..., Op]:
        def make(
            *operands: Any,
            output: int = 0,
            commutative: bool | None = None,
            where: Callable[[Any], bool] | None = None,
            **attributes: Any,
        ) -> Op:
            order_is_free = kind in COMMUTATIVE if commutative is None else commutative
            return Op(kind, tuple(_term(o) for o in operands), attributes, output, order_is_free, where)

        return make


op = _Ops()


def _term(value: Any) -> Term | None:
    if value is None or isinstance(value, Term):
        return value
    return equal_to(float(value))


def const(name: str | None = None, condition: Condition | None = None, what: str = "a constant") -> Constant:
    """An initialiser. With a name, passes read its values with `build.values(name)`."""
    return Constant(name, condition, what)


def equal_to(number: float) -> Constant:
    """A constant of one element that is `number`."""
    return Constant(
        None,
        lambda a: a.size == 1 and math.isclose(a.item(), number, rel_tol=1e-5, abs_tol=1e-8),
        f"the constant {number:g}",
    )


def per_channel(name: str) -> Constant:
    """A constant that varies over channels only: (1, C, 1, 1) or (C, 1, 1)."""
    return Constant(
        name,
        lambda a: a.ndim >= 3 and a.shape[-2:] == (1, 1) and a.size == a.shape[-3],
        "a constant for each channel, shape (1, C, 1, 1)",
    )


def scalar(name: str, condition: Condition | None = None, what: str = "a constant of one element") -> Constant:
    """A constant of one element."""
    return Constant(name, lambda a: a.size == 1 and (condition is None or condition(a)), what)


def either(*alternatives: Term) -> Either:
    """The first of the alternatives that fits. The usual one comes first: near-misses are counted by its nodes."""
    return Either(alternatives)


def optional(wrap: Callable[[Term], Term], inner: Term) -> Either:
    """`wrap(inner)`, or `inner` alone where that does not fit."""
    return Either((wrap(inner), inner))


def capture(name: str, term: Term) -> Capture:
    """The same as `term`; passes ask for the statistics of its tensor by `name`: `build.statistics.mean(name)`."""
    return Capture(name, term)


@dataclass(frozen=True)
class Pattern:
    """A named pattern with its root; the function's parameters are its inputs."""

    name: str
    root: Term
    inputs: tuple[str, ...]

    def anchors(self) -> frozenset[str]:
        """The kinds of node at which a match can end: what the matcher's index looks up."""
        return self.root.heads - {CONSTANT, COMPUTED}

    @cached_property
    def forms(self) -> frozenset[Op]:
        """The ops that may end the pattern: where the end is optional, more than one."""
        found, pending = set(), [self.root]
        while pending:
            term = pending.pop()
            if isinstance(term, Op):
                found.add(term)
            pending += term.alternatives if isinstance(term, Either) else ()
            pending += [term.term] if isinstance(term, Capture) else ()
        return frozenset(found)

    @cached_property
    def forms_by_kind(self) -> Mapping[str, tuple[Op, ...]]:
        """The forms by the kind of node that ends them."""
        return {kind: tuple(form for form in self.forms if form.kind == kind) for kind in self.anchors()}

    @cached_property
    def size(self) -> int:
        """The number of ops in the form that is named first, each shared one counted once."""
        return len(self.root.ops)


def pattern(function: Callable[..., Term]) -> Pattern:
    """Makes a pattern, for `graph.find`, of a function that returns what its parameters, the inputs, become."""
    names = tuple(inspect.signature(function).parameters)
    return Pattern(function.__name__, function(*(Variable(name) for name in names)), names)
