"""A distribution over selections that is cooled: minimise E_q[L] with a given entropy, from all of it to none.

    min_q sum_i q_i L_i  where  H(q) = h ln M   gives   q_i = exp(-L_i / T) / Z,

with T the multiplier of the constraint (Jaynes, Information Theory and Statistical Mechanics, 1957). Each of M
selections trains as often as q says; h falls from 1 to 0 in rounds, and exp(H) counts those that are left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from graphopt.ir.space import Selection

EQUAL = 1e-12  # dB; losses that differ by less are the same
DECADES = 9  # T lies within so many powers of ten around the spread of the losses
NewShares = Callable[[Sequence[float], float], list[float]]  # from losses and an entropy (nats)


@dataclass(frozen=True)
class Plan:
    """Rounds of `length` updates of the weights each, how many selections are judged after each, and what all costs."""

    length: int
    judged: tuple[int, ...]
    cost: int  # in training steps, judging included

    @classmethod
    def within(cls, count: int, wide: int, budget: int, per_judgement: float) -> Plan:
        """In `budget` training steps; fewer selections where judging would take half of it."""
        while count > 1 and sum(_judged(count, wide)) * per_judgement > budget / 2:
            count = (count + 1) // 2
        judged = _judged(count, wide)
        judging = math.ceil(sum(judged) * per_judgement)
        length = (budget - judging) // len(judged) if judged else 0
        return cls(length, judged, length * len(judged) + judging)

    @property
    def updates(self) -> int:
        return self.length * len(self.judged)

    @property
    def count(self) -> int:
        return self.judged[0] if self.judged else 1


class Tempering:
    """`shares` of the `selections` that are left, equal at first. Steps count updates since it began."""

    def __init__(self, plan: Plan, seed: int, new_shares: NewShares, selections: list[dict[str, str]]):
        self.plan, self.seed, self.new_shares = plan, seed, new_shares
        self.begin(selections)

    def begin(self, selections: list[dict[str, str]]) -> None:
        self.drawn, self.selections = len(selections), selections
        self.shares = [1 / len(selections) for _ in selections]

    @property
    def best(self) -> dict[str, str]:
        return self.selections[int(np.argmax(self.shares))]

    def turn(self, step: int) -> dict[str, str]:
        """Whose turn it is: within a round as often as their shares say (systematic sampling), in random order."""
        length = self.plan.length
        number, place = divmod(step, length)
        random = np.random.default_rng([self.seed, 13, number])
        places = (random.random() + np.arange(length)) / length
        order = random.permutation(np.searchsorted(np.cumsum(self.shares), places).clip(max=len(self.shares) - 1))
        return self.selections[order[place]]

    def judge(self, step: int, loss: Callable[[Selection], float]) -> None:
        """After update `step`, where a round ends: those that had the largest shares get new ones, others leave."""
        ended, place = divmod(step + 1, self.plan.length)
        if place:
            return
        order = np.argsort([-share for share in self.shares], kind="stable")[: self.plan.judged[ended - 1]]
        self.selections = [self.selections[i] for i in order]
        entropy = (1 - ended / len(self.plan.judged)) * math.log(self.drawn)
        self.shares = self.new_shares([loss(selection) for selection in self.selections], entropy)

    def expected(self, figures: Callable[[Selection], Mapping[str, float | list[float]]]) -> dict[str, Any]:
        """E_q of each figure of a selection, or of each of several."""
        rows = [figures(selection) for selection in self.selections]
        return {
            name: sum(q * np.array(row[name]) for q, row in zip(self.shares, rows, strict=True)).tolist()  # type: ignore[union-attr]
            for name in rows[0]
        }


def tempered(losses: Sequence[float], entropy: float) -> list[float]:
    """q with H(q) = `entropy` (nats) and the least E_q[L]. What has no finite loss gets none."""
    found = np.nan_to_num(np.asarray(losses, dtype=np.float64), nan=np.inf, posinf=np.inf)
    finite = np.isfinite(found)
    if not finite.any():
        return [1 / len(found)] * len(found)
    found -= found.min()
    spread = found[finite].max()
    if entropy <= 0:
        return [float(i == found.argmin()) for i in range(len(found))]

    def shares(decades: float) -> NDArray[np.float64]:
        weights: NDArray[np.float64] = np.exp(-found / (spread * 10**decades))
        return weights / weights.sum()

    def excess(decades: float) -> float:
        q = shares(decades)
        return float(-(q * np.log(np.maximum(q, 1e-300))).sum() - entropy)

    if spread < EQUAL or excess(DECADES) <= 0:
        return [float(share) for share in finite / finite.sum()]
    coldest = -DECADES if excess(-DECADES) > 0 else brentq(excess, -DECADES, DECADES)
    return [float(share) for share in shares(float(coldest))]


def _judged(count: int, wide: int) -> tuple[int, ...]:
    """In each round, as many rounds as halve `count` to one: `wide` times what exp(H) is before it."""
    rounds = math.ceil(math.log2(count)) if count > 1 else 0
    return tuple(min(count, round(wide * count ** (1 - number / rounds))) for number in range(rounds))
