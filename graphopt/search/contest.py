"""The decision by trial: contenders train side by side in the supernet, and after each round the worse half leaves.

What candidates lose before any training says little of what they lose after it, and less the more of them there are.
Successive halving (Jamieson and Talwalkar, arXiv 1502.07943) over selections that share their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.errors import GraphoptError
from graphopt.ir.space import Selection, Space
from graphopt.search.decision import unlikeliness
from graphopt.search.milp import solve
from graphopt.search.sensitivity import Sensitivity, varied
from graphopt.search.wholes import Aim

VARIED = 0.5  # standard deviation of the logarithm of a loss, between contenders
TRIES = 2  # draws for each contender: some are alike, some miss a goal as a whole


def contenders(
    aim: Aim,
    probabilities: Mapping[str, Sequence[float]],
    sensitivity: Sensitivity,
    first: Selection,
    count: int,
    seed: int,
) -> list[dict[str, str]]:
    """`first`, and up to `count` - 1 other selections that meet the goals.

    Whole networks that were priced come first, those that lose least, for at most half of the places. Then by turns,
    one that loses little by `sensitivity` and a likely one: the selection with the least sum of losses, or of -ln p_ik,
    where each is multiplied by a random factor. The very first draw has none.
    """
    random = np.random.default_rng([seed, 11])
    found = [dict(first)]
    for selection in aim.all_met(sensitivity)[: count // 2]:
        if selection not in found:
            found.append(selection)
    for number in range(TRIES * (count - 1)):
        if len(found) >= count:
            break
        losses = unlikeliness(aim.hardware, probabilities) if number % 2 else sensitivity
        try:
            selection = solve(aim.hardware, varied(losses, VARIED if number else 0.0, random))
        except GraphoptError:  # a whole has taught that nothing meets the goals
            break
        aim.look(selection)
        if selection not in found and aim.met(selection):
            found.append(selection)
    return found


@dataclass(frozen=True)
class Plan:
    """How many contenders there are, and after which updates of the weights (counted from 0) half of them leaves."""

    count: int
    ends: tuple[int, ...]
    cost: int  # in training steps, judging included

    @property
    def updates(self) -> int:
        return self.ends[-1] if self.ends else 0

    @classmethod
    def within(cls, count: int, budget: int, per_judgement: float) -> Plan:
        """Rounds of equal length, in `budget` training steps; fewer contenders where judging would take half of it."""
        while count > 1 and _judgements(count) * per_judgement > budget / 2:
            count = _halved(count)
        judging = math.ceil(_judgements(count) * per_judgement)
        rounds = math.ceil(math.log2(count)) if count > 1 else 0
        length = (budget - judging) // rounds if rounds else 0
        return cls(count, tuple(length * (number + 1) for number in range(rounds)), length * rounds + judging)


@dataclass
class Contest:
    """Who is left. `step` counts the updates of the weights since it began."""

    plan: Plan
    seed: int
    alive: list[dict[str, str]]

    def turn(self, step: int) -> dict[str, str]:
        """Whose turn it is: all in random order, then again."""
        turn, place = divmod(step, len(self.alive))
        order = np.random.default_rng([self.seed, 13, len(self.alive), turn]).permutation(len(self.alive))
        return self.alive[order[place]]

    def judge(self, step: int, loss: Callable[[Selection], float]) -> None:
        """After update `step`: where a round ends the worse half leaves."""
        if step + 1 in self.plan.ends:
            last = step + 1 == self.plan.updates
            ranked = sorted(self.alive, key=loss)
            self.alive = ranked[: 1 if last else _halved(len(ranked))]

    def shares(self, space: Space) -> dict[str, list[float]]:
        """By choice, the share of those left that have each option."""
        return {
            name: [sum(one[name] == option for one in self.alive) / len(self.alive) for option in choice.options]
            for name, choice in space.choices.items()
        }


def _judgements(count: int) -> int:
    """How many networks are judged in all rounds together."""
    total = 0
    while count > 1:
        total, count = total + count, _halved(count)
    return total


def _halved(count: int) -> int:
    return (count + 1) // 2
