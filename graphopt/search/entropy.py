"""Entropy-regularised search: a distribution over selections that meet the goals, cooled until one of them is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from graphopt.progress import Progress
from graphopt.search.contenders import contenders
from graphopt.search.method import Method, SearchResult, one_hot
from graphopt.search.problem import Problem
from graphopt.search.search import Search
from graphopt.search.tempering import Plan, Tempering, tempered

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
        self.tempering: Tempering | None = None

    def choose(self, search: Search, say: Progress) -> SearchResult:
        problem, plan = self.problem, self.plan
        if self.tempering is None:
            say(0.0, "draws selections that meet the goals")
            drawn = contenders(problem.aim, problem.sensitivity, plan.count, self.config.spread, self.config.seed)
            self.tempering = self._equal(problem.given.fabric.broadcast(drawn))
        tempering, judged = self.tempering, problem.held_out(BATCHES)
        while len(tempering.selections) > 1 and (number := search.step) < plan.updates:
            loss = search.update(selection=tempering.turn(number))
            tempering.judge(number, lambda selection: -problem.psnr(judged, selection=selection))
            shares = tempering.expected(partial(one_hot, self.space))
            expected = tempering.expected(problem.aim.hardware.costs)
            search.record("choice", loss, shares, search.step == plan.updates, expected=expected)
        return SearchResult(one_hot(self.space, tempering.best), tempering.best)

    def new_shares(self, losses: Sequence[float], entropy: float) -> list[float]:
        """Those of the judged selections, of a given entropy (nats)."""
        return tempered(losses, entropy)

    def _equal(self, selections: list[dict[str, str]]) -> Tempering:
        return Tempering(self.plan, self.config.seed, self.new_shares, selections)

    def state(self) -> dict[str, Any]:
        if self.tempering is None:
            return {}
        return {name: getattr(self.tempering, name) for name in ("drawn", "selections", "shares")}

    def restore(self, saved: Mapping[str, Any]) -> None:
        if saved:
            self.tempering = self._equal(saved["selections"])
            vars(self.tempering).update(saved)
