"""Where a pattern nearly fits, and in words the first thing that did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_graphsurgeon as gs

from graphopt.ir.patterns import Capture, Constant, Either, Op, Term, Variable


@dataclass(frozen=True)
class NearMiss:
    """The furthest that matching came at one anchor, and the first thing that did not fit there.

    `node` reads what did not fit as its `part` (`operand 1`, `attribute axes`, `shapes`).
    """

    anchor: gs.Node
    matched: int = 0  # nodes
    node: str = ""
    part: str = ""
    expected: str = ""
    found: str = ""

    @property
    def reason(self) -> str:
        where = f"{self.node}: {self.part}: " if self.part.startswith(("attribute", "shapes")) else ""
        return f"{where}expected {self.expected}, found {self.found}"


def in_words(anchor: gs.Node, matched: int, reader: gs.Node, part: int | str, expected: Any, found: Any) -> NearMiss:
    """`part` of `reader` should be `expected` (a term, a tensor bound before, a value), and is `found`."""
    where = part if isinstance(part, str) else f"operand {part}"
    return NearMiss(anchor, matched, reader.name, where, _expected(expected), _found(expected, found))


def _expected(wanted: Any) -> str:
    if wanted is None:
        return "no operand"
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
