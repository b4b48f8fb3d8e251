"""Convolutions, and conditions on them: each gives the reason why a match is no site, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphopt.ir.patterns import Term, const, either, op

if TYPE_CHECKING:
    from graphopt.ir.matcher import Match


def conv_of(x: Term, suffix: str = "", **attributes: object) -> Term:
    """A convolution with or without bias; its constants are `weight` and `bias`, with `suffix`."""
    with_bias = op.Conv(x, const(f"weight{suffix}"), const(f"bias{suffix}"), **attributes)
    return either(with_bias, op.Conv(x, const(f"weight{suffix}"), None, **attributes))


def keeps_size(match: Match) -> str | None:
    """Height and width stay."""
    before, after = match.inputs["x"].shape[2:], match.output.shape[2:]
    return None if before == after else f"expected a convolution that keeps the size, found {before} and {after}"


def dense(match: Match) -> str | None:
    """One group."""
    groups = int(match.anchor.attrs.get("group", 1))
    return None if groups == 1 else f"expected a dense convolution, found {groups} groups"


def depthwise(match: Match) -> str | None:
    """A group for each channel, and one output for each."""
    channels, groups = match.inputs["x"].shape[1], int(match.anchor.attrs.get("group", 1))
    if groups == channels == len(match.constants["weight"].values):
        return None
    return f"expected a depthwise convolution, found {groups} groups for {channels} channels"


def halves_size(match: Match) -> str | None:
    """An even height and width become their halves."""
    before, after = match.inputs["x"].shape[2:], match.output.shape[2:]
    if [2 * size for size in after] == list(before):
        return None
    return f"expected half of an even height and width, found {before} and {after}"
