"""remove-no-ops: ops that change nothing go, and two transposes become one. Exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Stage, Term, const, either, op, pattern

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


def in_order(order: tuple[int, ...]) -> bool:
    """the order of the axes as they are"""
    return list(order) == sorted(order)


@pattern
def no_op(x: Term) -> Term:
    zeros = const(condition=lambda values: not values.any(), what="zeros")
    ones = const(condition=lambda values: bool((values == 1).all()), what="ones")
    return either(
        op.Identity(x),
        op.Add(x, zeros),
        op.Sub(x, zeros),
        op.Mul(x, ones),
        op.Div(x, ones),
        op.Reshape(x, const()),
        op.Expand(x, const()),
        op.Transpose(x, perm=in_order),
        op.Concat(x),
        op.Pad(x, const(condition=lambda values: not values.any(), what="pads of 0")),
    )


def given(order: tuple[int, ...]) -> bool:
    """an order of the axes"""
    return len(order) > 0


@pattern
def transposed_twice(x: Term) -> Term:
    return op.Transpose(op.Transpose(x, perm=given), perm=given)


@dataclass(frozen=True)
class RemoveNoOps(Pass):
    """Two cases; shapes and types must stay, and a result of the network keeps its op.

    1. Identity(x), x + 0, x - 0, x * 1, x / 1, Reshape, Expand or Transpose to what x is, Concat(x), Pad(x, 0)  ->  x
    2. Transpose(Transpose(x, p), q)  ->  Transpose(x, p[q])

    Reading a file folds constants and removes these where exporters leave them; this is for what the passes leave.
    """

    name: ClassVar[str] = "remove-no-ops"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.CLEANUP

    def sites(self, graph: GraphView) -> Iterator[Site]:
        results = {tensor.name for tensor in graph.graph.outputs}

        def changes(match: Match) -> str | None:
            x, y = match.inputs["x"], match.output
            if x.shape is None or y.shape is None:  # made by a rewrite; known again once the graph is exported
                return f"the shape of {x.name} or {y.name} is not known yet"
            if list(x.shape) != list(y.shape) or x.dtype != y.dtype:
                return f"{match.anchor.op} changes {x.shape} to {y.shape}"
            return f"it gives {y.name}, a result of the network" if y.name in results else None

        taken: set[str] = set()
        for site in (*graph.find(transposed_twice), *graph.find(no_op, unless=changes)):
            if not taken & set(site.nodes):  # the others come in the next round
                taken |= set(site.nodes)
                yield site

    def rewrite(self, site: Site, build: Build) -> object:
        if len(site.nodes) == 1:
            return build.input("x")
        first, second = (build.node_attributes(name)["perm"] for name in site.nodes)
        return build.transpose(build.input("x"), [first[axis] for axis in second])
