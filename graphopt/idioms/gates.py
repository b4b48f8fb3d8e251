"""Gates: one half of the channels times the other."""

from __future__ import annotations

from graphopt.ir.patterns import Term, const, op, optional, pattern


def gate_of(x: Term) -> Term:
    """The product of the two halves of the channels."""
    return op.Mul(op.Split(x, axis=1, output=0), op.Split(x, axis=1, output=1))


@pattern
def gate(x: Term) -> Term:
    return gate_of(x)


def clamped(x: Term) -> Term:
    """`x`, with the clamp of `bounded-gate` or without. Its bounds are the constants `low` and `high`."""
    return optional(lambda t: op.Clip(t, const("low"), const("high")), x)
