"""Entropy-regularised search: a distribution over selections that meet the goals, cooled until one of them is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from graphopt.errors import GraphoptError
from graphopt.progress import Progress
from graphopt.search.method import Method, SearchResult, one_hot
from graphopt.search.problem import Problem
from graphopt.search.programme import solve
from graphopt.search.sensitivity import Sensitivity, varied
from graphopt.search.tempering import Plan, Tempering, tempered
from graphopt.search.wholes import TRIES, Aim

SHARE = 1 / 3  # of the budget, for the choice
BATCHES = 2  # that judge a selection; a batch forward counts a third of a training step


class Entropy(Method):
    """Trains and judges selections side by side (`tempering`), and leaves one."""

    wide: ClassVar[int] = 2  # a round judges as many times what the entropy leaves; with 1, what it misjudged was lost

    def __init__(self, problem: Problem):
        super().__init__(problem)
        budget = self.config.steps
        self.plan = Plan.within(self.config.contenders, self.wide, round(SHARE * budget), BATCHES / 3)
        self.steps = self.plan.updates + budget - self.plan.cost
        self.tempering = Tempering(self.plan, self.config.seed, self.new_shares, [])

    def choose(self, say: Progress) -> SearchResult:
        problem, plan = self.problem, self.plan
        if not self.tempering.selections:
            say(0.0, "draws selections that meet the goals")
            drawn = contenders(problem.aim, problem.sensitivity, plan.count, self.config.spread, self.config.seed)
            self.tempering.begin(self.fabric.broadcast(drawn))
        tempering, judged = self.tempering, problem.held_out(BATCHES)
        while len(tempering.selections) > 1 and (number := self.step) < plan.updates:
            loss = self.update(selection=tempering.turn(number))
            tempering.judge(number, lambda selection: -problem.psnr(judged, selection=selection))
            shares = tempering.expected(partial(one_hot, self.space))
            expected = tempering.expected(problem.aim.hardware.costs)
            self.record("choice", loss, shares, self.step == plan.updates, expected=expected)
        return SearchResult(one_hot(self.space, tempering.best), tempering.best)

    def new_shares(self, losses: Sequence[float], entropy: float) -> list[float]:
        """Those of the judged selections, of a given entropy (nats)."""
        return tempered(losses, entropy)

    def state(self) -> dict[str, Any]:
        return {name: getattr(self.tempering, name) for name in ("drawn", "selections", "shares")}

    def restore(self, saved: Mapping[str, Any]) -> None:
        vars(self.tempering).update(saved)


def contenders(aim: Aim, sensitivity: Sensitivity, count: int, spread: float, seed: int) -> list[dict[str, str]]:
    """At least one selection, and up to `count` that meet the goals, where some do.

    The best whole networks that were priced have at most half of the places. Then come the selections with the least
    sum of sensitivities, each times exp(spread * N(0, 1)); the very first as they are.
    """
    random = np.random.default_rng([seed, 11])
    found = aim.all_met(sensitivity)[: max(1, count // 2)]
    first: dict[str, str] = {}
    for number in range(TRIES * count):
        if len(found) >= count:
            break
        try:
            selection = solve(aim.hardware, varied(sensitivity, spread if number else 0.0, random))
        except GraphoptError:  # a whole has taught that nothing meets the goals
            if not (found or first):
                raise
            break
        first = first or selection
        aim.look(selection)
        if aim.met(selection) and selection not in found:
            found.append(selection)
    return found or [first]
