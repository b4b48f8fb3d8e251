"""Mixed precision where it pays: the groups of layers that gain most stay wide, within what that may cost.

A group is judged in its place: all of the network in 8 bits but that group. What such gains add up to is nearer to the
gain of several than the losses of groups that are quantised alone, since it holds what the deployed graph converts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from scipy.optimize import Bounds, LinearConstraint, milp

from graphopt.progress import Progress, silent
from graphopt.quantise.groups import Group, groups_of
from graphopt.quantise.qdq import Qdq
from graphopt.quantise.trials import Ranges, Trials

Price = Callable[[onnx.ModelProto, onnx.ModelProto], float]  # of a graph, in ms, beside another where it is measured
PRICED = 10  # groups at most: a price is a compilation, or a measurement
LEAST = 0.02  # of what 8 bits lose: a group that gains less is left in 8 bits
_TRIED = 3  # budgets, each half of the one before, where prices of groups add up to less than all of them cost


@dataclass(frozen=True)
class Allowed:
    """What wide layers may cost: at most `share` more than the milliseconds of all in 8 bits, by `price`."""

    price: Price
    share: float


@dataclass(frozen=True)
class Widened:
    """The graph, the names of groups that stay `wide` (none where that does not pay) and their tensors.

    `gains`: dB of each group alone at full width, all else in 8 bits, by name; `prices`: ms that the dearest of them
    cost more. `psnr` and `ms`: all in 8 bits, and with the choice.
    """

    qdq: Qdq
    wide: tuple[str, ...]
    tensors: frozenset[str]
    gains: dict[str, float]
    prices: dict[str, float]
    psnr: tuple[float, float]
    ms: tuple[float, float]

    @property
    def expected(self) -> float:
        """dB that the choice would gain if those of its groups added up."""
        return sum(self.gains[name] for name in self.wide)


def widen(trials: Trials, ranges: Ranges, widest: Ranges, allowed: Allowed, say: Progress = silent) -> Widened:
    """`ranges` are those of 8 bits; `widest` those of tensors with 16, which lose nothing by holding all values.

    Raises:
        GraphoptError: as the quantiser and `allowed.price`.
    """
    groups = groups_of(trials.ready)
    whole, narrow = trials.float_score(), trials.score(ranges)
    gains: dict[str, float] = {}
    for done, group in enumerate(groups):
        say(0.7 * done / len(groups), f"{group.name}: {done + 1}/{len(groups)} groups kept wide, quantises and judges")
        gains[group.name] = trials.score(*_wide(group.tensors, ranges, widest)) - narrow
    dear = sorted(groups, key=lambda group: -gains[group.name])[:PRICED]
    dear = [group for group in dear if gains[group.name] > max(0, LEAST * (whole - narrow))]
    plain = trials.graph(ranges)
    if not dear:
        return Widened(plain, (), frozenset(), gains, {}, (narrow, narrow), (0, 0))
    base, prices = allowed.price(plain.model, plain.model), dict[str, float]()
    for done, group in enumerate(dear):
        say(0.7 + 0.25 * done / len(dear), f"{group.name}: price of {done + 1}/{len(dear)}")
        made = trials.graph(*_wide(group.tensors, ranges, widest))
        prices[group.name] = allowed.price(made.model, plain.model) - base
    budget, tried = allowed.share * base, set[tuple[str, ...]]()
    for attempt in range(_TRIED):
        chosen = _choose(dear, gains, prices, budget / 2**attempt)
        names = tuple(group.name for group in groups if group in chosen)
        if not names or names in tried:
            continue
        tried.add(names)
        say(0.95 + 0.05 * attempt / _TRIED, f"{len(names)} groups kept wide, judges and prices")
        tensors = frozenset[str]().union(*(group.tensors for group in chosen))
        form = _wide(tensors, ranges, widest)
        made, found = trials.graph(*form), trials.score(*form)
        costs = allowed.price(made.model, plain.model)
        if costs <= base + budget and found > narrow:
            return Widened(made, names, tensors, gains, prices, (narrow, found), (base, costs))
    return Widened(plain, (), frozenset(), gains, prices, (narrow, narrow), (base, base))


def _wide(tensors: frozenset[str], ranges: Ranges, widest: Ranges) -> tuple[Ranges, frozenset[str]]:
    return {name: widest[name] if name in tensors else ends for name, ends in ranges.items()}, tensors


def _choose(groups: Sequence[Group], gains: dict[str, float], prices: dict[str, float], budget: float) -> list[Group]:
    """Those that gain most together for at most `budget` ms. What seems to cost less than nothing is free."""
    names = [group.name for group in groups]
    found = milp(
        [-gains[name] for name in names], integrality=np.ones(len(names)), bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.array([[max(0.0, prices[name]) for name in names]]), -np.inf, budget),
    )  # fmt: skip
    return [group for group, x in zip(groups, found.x, strict=True) if x > 0.5]
