"""Entropy-regularised search: a distribution over selections that meet the goals, cooled until one of them is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from graphopt.progress import Progress
from graphopt.search.contenders import contenders
from graphopt.search.problem import Problem, SearchResult, one_hot
from graphopt.search.supernet_search import SupernetSearch
from graphopt.search.tempering import COOLING, Plan, Rule, Tempering

SHARE = 1 / 3  # of the budget, for the choice
JUDGED = 2  # batches that judge a selection


class EntropySearch(SupernetSearch):
    """Trains and judges selections side by side (`tempering`), then trains the one that is left."""

    def __init__(self, problem: Problem, rule: Rule = COOLING):
        config = problem.config
        warm_up = config.warm_up_steps if problem.warm is not None else 0  # what several goals begin with
        left = config.budget - warm_up
        # a batch forward counts a third of a training step
        self.plan = Plan.within(config.contenders, rule.wide, min(left, round(SHARE * config.budget)), JUDGED / 3)
        super().__init__(problem, "soft", warm_up, warm_up + self.plan.updates + left - self.plan.cost)
        self.new_shares = rule.new_shares
        self.tempering: Tempering | None = None
        self.start_from_sensitivities()

    def choose(self, report: Progress) -> SearchResult:
        """The selection that is left."""
        problem, plan = self.problem, self.plan
        if self.tempering is None:
            report(self.step / self.steps, "draws selections that meet the goals")
            drawn = contenders(problem.aim, problem.sensitivity, plan.count, self.config.spread, self.config.seed)
            found = problem.fabric.broadcast(drawn)
            self.tempering = Tempering.of(plan, self.config.seed, self.new_shares, found)
        tempering, judged = self.tempering, problem.fixed_patches(JUDGED)
        while len(tempering.selections) > 1 and (number := self.step - self.warm_up) < plan.updates:
            loss = self.weights.update(self.step, selection=tempering.turn(number))
            tempering.judge(number, lambda selection: -problem.psnr(judged, selection=selection))
            p = {name: torch.tensor(row) for name, row in tempering.probabilities(problem.space).items()}
            expected = tempering.expected(problem.hardware.costs)
            self.record("choice", loss, p, number == plan.updates - 1, expected=expected)
            self.step += 1
            words = f"choice of {len(tempering.selections)}, step {self.step}/{self.steps}, {-loss:.2f} dB"
            report(self.step / self.steps, words)
        return SearchResult(one_hot(problem.space, tempering.best), tempering.best)

    def own_state(self) -> dict[str, Any]:
        if self.tempering is None:
            return {"tempering": None}
        return {"tempering": {name: getattr(self.tempering, name) for name in ("drawn", "selections", "shares")}}

    def take_own_state(self, saved: Mapping[str, Any]) -> None:
        if saved["tempering"] is not None:
            self.tempering = Tempering(self.plan, self.config.seed, self.new_shares, **saved["tempering"])
