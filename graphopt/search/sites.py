"""Differentiable search site by site: weights and probabilities in turn, on disjoint patches; then the decision.

L = L_restore + w_kd * L_output + lambda(t) * (1/N) sum_i H(p_i) / ln K_i + w_s * E[s] + hardware terms
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphopt.progress import Progress
from graphopt.search.additive import Additive
from graphopt.search.decision import decide_as_whole
from graphopt.search.objective import entropy_weight, normalised_entropy, temperature
from graphopt.search.problem import Problem, Rounding, SearchResult
from graphopt.search.sampling import routing
from graphopt.search.supernet_search import SupernetSearch
from graphopt.train.processes import mean_gradients


@dataclass(frozen=True)
class Method:
    """What tells one method from another: how the supernet runs, and the terms of its loss."""

    way: str
    entropy: bool = False
    sensitivity: bool = False


METHODS = {
    "entropy-sites": Method("soft", entropy=True, sensitivity=True),
    "darts": Method("soft"),
    "gumbel": Method("gumbel"),
    "proxyless": Method("path"),
}


class SiteSearch(SupernetSearch):
    """Every choice has probabilities of its own, which have gradients. What is left of the budget trains the chosen."""

    def __init__(self, problem: Problem, method: Method):
        config = problem.config
        choosing = max(1, round(config.steps * (1 - config.settle)))
        # a step of the search takes two batches, so it leaves one update of the weights less
        super().__init__(problem, method.way, config.warm_up_steps, config.budget - choosing)
        self.method = method
        self.searching = self.warm_up + choosing
        self.sensitivity = Additive(
            problem.space,
            0.0,
            {n: [problem.sensitivity[n][o] for o in c.options] for n, c in problem.space.choices.items()},
        )
        self.for_choices = torch.optim.Adam(
            self.supernet.architecture_parameters(), config.choice_learning_rate, (0.5, 0.999)
        )
        if method.sensitivity:
            self.start_from_sensitivities()

    def choose(self, report: Progress) -> SearchResult:
        """Searches, then decides."""
        while self.step < self.searching:
            progress = (self.step - self.warm_up) / max(1, self.searching - self.warm_up - 1)
            tau = temperature(progress, *self.config.temperature)
            self._update_choices(progress, tau)
            loss = self.mix(tau)
            self.record("search", loss, self.probabilities(tau), self.step == self.searching - 1, tau)
            self.step += 1
            words = f"search step {self.step}/{self.steps}, {-loss:.2f} dB, entropy {self.history[-1].entropy:.2f}"
            report(self.step / self.steps, words)
        return self._decided()

    @torch.no_grad()
    def _decided(self) -> SearchResult:
        """What the probabilities say, within the goals; and what rounding them costs before any further training."""
        problem = self.problem
        p = self.probabilities(self.config.temperature[1])
        likely = {name: values.tolist() for name, values in self.probabilities().items()}
        sensitivity = problem.sensitivity if self.method.sensitivity else None
        decision = decide_as_whole(problem.aim, likely, sensitivity, self.config.wholes)
        chosen = decision.selection
        rounding = Rounding(
            problem.psnr(problem.judged, probabilities=p), problem.psnr(problem.judged, selection=chosen)
        )
        shares = {name: values.tolist() for name, values in p.items()}
        return SearchResult(shares, chosen, decision.turned, decision.restored, rounding)

    def _update_choices(self, progress: float, tau: float) -> None:
        random = self.problem.generator(self.step, 1)
        routed = routing(self.way, self.supernet, tau, random, for_choices=True)
        loss = self.problem.quality(self.problem.for_choices, **routed) + self._terms(progress, tau)
        self.problem.checked(loss, self.step)
        self.for_choices.zero_grad()
        loss.backward()
        mean_gradients(self.problem.fabric, self.supernet.architecture_parameters())
        self.for_choices.step()

    def _terms(self, progress: float, tau: float) -> Tensor:
        """All of the loss that does not look at images."""
        p = self.supernet.probabilities(tau)
        total = self.problem.hardware.penalty(p)
        if self.method.entropy:
            total = total + entropy_weight(progress, self.config.entropy) * normalised_entropy(p)
        if self.method.sensitivity:
            total = total + self.config.sensitivity * self.sensitivity(p)
        return total

    def own_state(self) -> dict[str, Any]:
        return {"choices": self.for_choices.state_dict()}

    def take_own_state(self, saved: Mapping[str, Any]) -> None:
        self.for_choices.load_state_dict(saved["choices"])
