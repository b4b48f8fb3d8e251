"""A distribution over selections that is cooled: minimise E_q[L] with a given entropy, from all of it to none.

    min_q sum_i q_i L_i  where  H(q) = h ln M   gives   q_i = exp(-L_i / T) / Z,

with T the multiplier of the constraint (Jaynes, Information Theory and Statistical Mechanics, 1957). M selections share
the weights of the supernet, each trains as often as q says, and h falls from 1 to 0 as they are judged again and again:
exp(H) counts those that are left, half as many after each round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from graphopt.ir.space import Selection, Space

EQUAL = 1e-12  # dB; losses that differ by less are the same
DECADES = 9  # T lies within so many powers of ten around the spread of the losses
NewShares = Callable[[Sequence[float], float], list[float]]  # from losses and an entropy (nats)


@dataclass(frozen=True)
class Plan:
    """After which updates of the weights (counted from 0) a round ends, and how many selections it judges then."""

    ends: tuple[int, ...]
    judged: tuple[int, ...]
    cost: int  # in training steps, judging included

    @property
    def updates(self) -> int:
        return self.ends[-1] if self.ends else 0

    @classmethod
    def within(cls, count: int, wide: int, budget: int, per_judgement: float) -> Plan:
        """Rounds of equal length, in `budget` training steps; fewer selections where judging would take half of it.

        A round judges `wide` times as many as exp(H) said before it.
        """
        while count > 1 and sum(_judged(count, wide)) * per_judgement > budget / 2:
            count = (count + 1) // 2
        judged = _judged(count, wide)
        judging = math.ceil(sum(judged) * per_judgement)
        length = (budget - judging) // len(judged) if judged else 0
        return cls(tuple(length * (n + 1) for n in range(len(judged))), judged, length * len(judged) + judging)

    @property
    def count(self) -> int:
        return self.judged[0] if self.judged else 1


@dataclass
class Tempering:
    """`shares` of the `selections` that are left, of `drawn` at first. Steps count updates since it began.

    A round judges those of the largest shares, and `new_shares` gives them new ones by their losses and an entropy.
    """

    plan: Plan
    seed: int
    new_shares: NewShares
    drawn: int
    selections: list[dict[str, str]]
    shares: list[float]

    @classmethod
    def of(cls, plan: Plan, seed: int, new_shares: NewShares, selections: list[dict[str, str]]) -> Tempering:
        """All of them equal."""
        return cls(plan, seed, new_shares, len(selections), selections, [1 / len(selections)] * len(selections))

    @property
    def best(self) -> dict[str, str]:
        return self.selections[int(np.argmax(self.shares))]

    def turn(self, step: int) -> dict[str, str]:
        """Whose turn it is: within a round as often as their shares say (systematic sampling), in random order."""
        number = next(n for n, end in enumerate(self.plan.ends) if step < end)
        first = self.plan.ends[number - 1] if number else 0
        length = self.plan.ends[number] - first
        random = np.random.default_rng([self.seed, 13, number])
        places = (random.random() + np.arange(length)) / length
        order = random.permutation(np.searchsorted(np.cumsum(self.shares), places).clip(max=len(self.shares) - 1))
        return self.selections[order[step - first]]

    def judge(self, step: int, loss: Callable[[Selection], float]) -> None:
        """After update `step`, where a round ends: those that had the largest shares get new ones, others leave."""
        if step + 1 not in self.plan.ends:
            return
        number = self.plan.ends.index(step + 1)
        order = np.argsort([-share for share in self.shares], kind="stable")[: self.plan.judged[number]]
        self.selections = [self.selections[i] for i in order]
        entropy = (1 - (number + 1) / len(self.plan.ends)) * math.log(self.drawn)
        self.shares = self.new_shares([loss(selection) for selection in self.selections], entropy)

    def expected(self, costs: Callable[[Selection], Mapping[str, float]]) -> dict[str, float]:
        """E_q of each figure."""
        rows = [costs(selection) for selection in self.selections]
        return {name: sum(q * row[name] for q, row in zip(self.shares, rows, strict=True)) for name in rows[0]}

    def probabilities(self, space: Space) -> dict[str, list[float]]:
        """By choice, p_ik: the sum of the shares of those that have option k."""
        pairs = list(zip(self.selections, self.shares, strict=True))
        return {
            name: [sum(share for selection, share in pairs if selection[name] == option) for option in choice.options]
            for name, choice in space.choices.items()
        }


def tempered(losses: Sequence[float], entropy: float) -> list[float]:
    """q with H(q) = `entropy` (nats) and the least E_q[L]. What has no finite loss gets none.

    Equal where the losses are, or where no more than exp(`entropy`) are finite; all to the first of the best at 0.
    """
    found = np.nan_to_num(np.asarray(losses, dtype=np.float64), nan=np.inf, posinf=np.inf)
    finite = np.isfinite(found)
    if not finite.any():
        return [1 / len(found)] * len(found)
    found -= found.min()
    spread = found[finite].max()
    if entropy <= 0:
        return [float(i == found.argmin()) for i in range(len(found))]

    def excess(decades: float) -> float:
        shares = _gibbs(found, spread * 10**decades)
        return float(-(shares * np.log(np.maximum(shares, 1e-300))).sum() - entropy)

    if spread < EQUAL or excess(DECADES) <= 0:
        return [float(share) for share in finite / finite.sum()]
    coldest = -DECADES if excess(-DECADES) > 0 else brentq(excess, -DECADES, DECADES)
    return [float(share) for share in _gibbs(found, spread * 10 ** float(coldest))]


def _gibbs(losses: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    weights = np.exp(-losses / temperature)
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def _judged(count: int, wide: int) -> tuple[int, ...]:
    """In each round, as many rounds as halve `count` to one: `wide` times what exp(H) is before it."""
    rounds = math.ceil(math.log2(count)) if count > 1 else 0
    return tuple(min(count, round(wide * count ** (1 - number / rounds))) for number in range(rounds))
