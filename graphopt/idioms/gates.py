"""Gates: one half of the channels times the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphopt.ir.patterns import Term, const, either, op, optional, pattern

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


def gate_of(x: Term) -> Term:
    """The product of the two halves of the channels, from a Split or from two Slices."""
    split = op.Mul(op.Split(x, axis=1, output=0), op.Split(x, axis=1, output=1))
    return either(split, op.Mul(op.Slice(x, where=first_half), op.Slice(x, where=second_half)))


def clamped(x: Term) -> Term:
    """`x`, with the clamp of `bounded-gate` or without. Its bounds are the constants `low` and `high`."""
    return optional(lambda t: op.Clip(t, const("low"), const("high")), x)


def first_half(node: gs.Node) -> bool:
    """the first half of the channels"""
    return _half(node) == 0


def second_half(node: gs.Node) -> bool:
    """the second half of the channels"""
    return _half(node) == 1


def _half(node: gs.Node) -> int | None:
    found = range_of_slice(node)
    if found is None or found[0] != 1:
        return None
    channels = node.inputs[0].shape[1]
    halves = [(0, channels // 2), (channels // 2, channels)]
    return halves.index(found[1:]) if channels % 2 == 0 and found[1:] in halves else None


def range_of_slice(node: gs.Node) -> tuple[int, int, int] | None:
    """axis, start, end of a Slice along one axis in steps of 1 that leaves a part out; None for any other."""
    operands: list[Any] = [getattr(tensor, "values", None) for tensor in node.inputs[1:]]
    if len(operands) < 3 or any(values is None or values.size != 1 for values in operands):
        return None
    start, end, axis, step = ([int(values.reshape(-1)[0]) for values in operands] + [1])[:4]
    shape = node.inputs[0].shape
    if step != 1 or shape is None:
        return None
    axis %= len(shape)
    start, end, _ = slice(start, end).indices(shape[axis])
    return (axis, start, end) if 0 < end - start < shape[axis] else None


@pattern
def gate(x: Term) -> Term:
    return gate_of(x)
