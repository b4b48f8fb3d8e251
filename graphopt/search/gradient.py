"""Differentiable search: warm up the weights, then weights and probabilities in turn, on disjoint patches; then decide.

Where there are contenders, a contest has the last word. What is left of the budget trains the network that was chosen.

L = L_restore + w_kd * L_output + lambda(t) * (1/N) sum_i H(p_i) / ln K_i + w_s * E[s] + hardware terms
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphopt.search.additive import Additive, running
from graphopt.search.contest import Contest, Plan, contenders
from graphopt.search.decision import decide_as_whole
from graphopt.search.objective import entropy_weight, normalised_entropy, temperature
from graphopt.search.problem import (
    Problem,
    Record,
    Report,
    Rounding,
    SearchResult,
    WeightTraining,
    one_hot,
    save_state,
)
from graphopt.search.sampling import routing
from graphopt.search.selection import decide

CONTEST = 1 / 3  # share of the whole budget that goes into the contest
JUDGED = 2  # batches that judge a contender


@dataclass(frozen=True)
class Method:
    """What tells one method from another: how the supernet runs, the terms of its loss, and who decides.

    Without `gradient` nothing is mixed: the contest has all of the budget.
    """

    way: str
    gradient: bool = True
    entropy: bool = False
    sensitivity: bool = False
    contenders: int = 1


METHODS = {
    "entropy": Method("soft", entropy=True, sensitivity=True),
    "contest": Method("path", gradient=False, sensitivity=True, contenders=32),
    "darts": Method("soft"),
    "gumbel": Method("gumbel"),
    "proxyless": Method("path"),
}


class GradientSearch:
    """One search; `run` can be killed and goes on from `problem.state`."""

    def __init__(self, problem: Problem, method: Method):
        config = problem.config
        torch.manual_seed(config.seed)
        self.problem, self.config, self.method = problem, config, method
        self.way = config.forward or method.way
        self.supernet = problem.supernet
        space, table = problem.space, problem.hardware.table
        self.sensitivity = Additive(
            space, 0.0, {n: [problem.sensitivity[n][o] for o in c.options] for n, c in space.choices.items()}
        )
        self.ways = {n: len(c.options) - len(table.exact[n]) for n, c in space.choices.items()}
        self.warm_up = config.warm_up_steps if method.gradient else 0
        choosing = max(1, round(config.steps * (1 - config.settle))) if method.gradient else 0
        self.searching = self.warm_up + choosing
        left = config.budget - self.warm_up - 2 * choosing  # a step of the search takes two batches
        count = (config.contenders or method.contenders) if method.sensitivity else 1
        self.plan = Plan.within(count, min(left, round(CONTEST * config.budget)), JUDGED / 3)  # forward alone: a third
        self.steps = self.searching + self.plan.updates + left - self.plan.cost
        self.weights = WeightTraining(problem, self.steps)
        self.for_choices = torch.optim.Adam(
            self.supernet.architecture_parameters(), config.choice_learning_rate, (0.5, 0.999)
        )
        self.step = 0
        self.history: list[Record] = []
        self.result: SearchResult | None = None
        self.contest: Contest | None = None
        if method.sensitivity:
            self._start_from_sensitivities()

    def run(self, report: Report) -> SearchResult:
        """Trains until the end. NaN stops it with the last good checkpoint kept."""
        self._resume(report)
        while self.step < self.searching:
            self._search(report)
        if self.result is None:
            self.result = self._decided()
        if self.plan.updates:
            self._contest(self.result, report)
        one = one_hot(self.problem.space, self.result.selection)
        while self.step < self.steps:
            self._train_chosen(self.result.selection, one, report)
        self._save()
        self.result.history = self.history
        return self.result

    def _search(self, report: Report) -> None:
        """One step of the warm-up, or of the search: choices, then weights."""
        warm_up = self.warm_up
        progress = max(0, self.step - warm_up) / max(1, self.searching - warm_up - 1)
        tau = temperature(progress, *self.config.temperature)
        if self.step >= warm_up:
            self._update_choices(progress, tau)
        random = self.problem.generator(self.step, 0)
        loss = self.weights.update(self.step, **routing(self.way, self.supernet, tau, random, for_choices=False))
        if self.step % self.config.record_every == 0 or self.step == self.searching - 1:
            self._record("search" if self.step >= warm_up else "warm-up", loss, tau)
            self._save()
        self.step += 1
        if self.step == warm_up and self.problem.warm is not None:
            save_state(self.problem.warm, self._parts(self.step))
        last = self.history[-1]
        words = f"{last.phase} step {self.step}/{self.steps}, {-loss:.2f} dB, entropy {last.entropy:.2f}"
        report(self.step / self.steps, words)

    def _contest(self, result: SearchResult, report: Report) -> None:
        """Trains the contenders in turns until one is left; it takes the place of the first decision."""
        problem = self.problem
        if self.contest is None:
            report(self.step / self.steps, "draws contenders")
            drawn = contenders(
                problem.aim, self._likely(), problem.sensitivity, result.selection, self.plan.count, self.config.seed
            )
            self.contest = Contest(self.plan, self.config.seed, drawn)
        contest = self.contest
        judged = problem.fixed_patches(JUDGED)
        while len(contest.alive) > 1 and (number := self.step - self.searching) < self.plan.updates:
            loss = self.weights.update(self.step, selection=contest.turn(number))
            contest.judge(number, lambda selection: -problem.psnr(judged, selection=selection))
            if self.step % self.config.record_every == 0:
                self._record_shares("contest", loss, contest.shares(problem.space))
                self._save()
            self.step += 1
            words = f"contest of {len(contest.alive)}, step {self.step}/{self.steps}, {-loss:.2f} dB"
            report(self.step / self.steps, words)
        won = contest.alive[0]
        if not self.method.gradient:
            result.selection, result.probabilities = won, one_hot(problem.space, won)
        elif won != result.selection:
            wanted = decide(problem.space, self._likely())
            turned = [name for name in running(problem.space, won) if won[name] != wanted[name]]
            result.selection, result.turned, result.restored = won, turned, []

    def _train_chosen(self, selection: dict[str, str], one: dict[str, list[float]], report: Report) -> None:
        loss = self.weights.update(self.step, selection=selection)
        if self.step % self.config.record_every == 0 or self.step == self.steps - 1:
            self._record_shares("chosen", loss, one)
            self._save()
        self.step += 1
        report(self.step / self.steps, f"chosen; trains step {self.step}/{self.steps}, {-loss:.2f} dB")

    @torch.no_grad()
    def _start_from_sensitivities(self) -> None:
        """alpha_ik = -start * s_ik, so that the first mixtures are of what is likely to stay."""
        for name, choice in self.problem.space.choices.items():
            alpha = self.supernet.logits(name)
            lost = torch.tensor([self.problem.sensitivity[name][option] for option in choice.options])
            alpha.copy_(torch.where(alpha.isfinite(), -self.config.sensitivity_start * lost.clamp_min(0), alpha))

    @torch.no_grad()
    def _decided(self) -> SearchResult:
        """What the probabilities say, within the goals; and what rounding them costs before any further training."""
        problem = self.problem
        p = self.supernet.probabilities(self.config.temperature[1])
        likely = self._likely()
        sensitivity = problem.sensitivity if self.method.sensitivity else None
        decision = decide_as_whole(problem.aim, likely, sensitivity, self.config.wholes)
        chosen = decision.selection
        if not self.method.gradient:
            return SearchResult(one_hot(problem.space, chosen), chosen)
        rounding = Rounding(
            problem.psnr(problem.judged, probabilities=p), problem.psnr(problem.judged, selection=chosen)
        )
        shares = {name: values.tolist() for name, values in p.items()}
        return SearchResult(shares, chosen, decision.turned, decision.restored, rounding)

    def _likely(self) -> dict[str, list[float]]:
        with torch.no_grad():
            return {name: values.tolist() for name, values in self.supernet.probabilities().items()}

    def _update_choices(self, progress: float, tau: float) -> None:
        random = self.problem.generator(self.step, 1)
        routed = routing(self.way, self.supernet, tau, random, for_choices=True)
        loss = self.problem.quality(self.problem.for_choices, **routed) + self._terms(progress, tau)
        self.problem.check(loss, self.step)
        self.for_choices.zero_grad()
        loss.backward()
        self.for_choices.step()

    def _terms(self, progress: float, tau: float) -> Tensor:
        """All of the loss that does not look at images."""
        p = self.supernet.probabilities(tau)
        total = self.problem.hardware.penalty(p)
        if self.method.entropy:
            total = total + entropy_weight(progress, self.config.entropy) * normalised_entropy(p, self.ways)
        if self.method.sensitivity:
            total = total + self.config.sensitivity * self.sensitivity(p)
        return total

    def _record(self, phase: str, loss: float, tau: float) -> None:
        with torch.no_grad():
            p = self.supernet.probabilities(tau)
            expected = {target: float(latency(p)) for target, latency in self.problem.hardware.latency.items()}
            entropy = float(normalised_entropy(p, self.ways))
        rounded = {name: np.round(values.numpy(), 4).tolist() for name, values in p.items()}
        self.history.append(Record(self.step, phase, loss, entropy, tau, expected, rounded))

    def _record_shares(self, phase: str, loss: float, shares: dict[str, list[float]]) -> None:
        """Of the selections that are left, as if they were probabilities."""
        p = {name: torch.tensor(values) for name, values in shares.items()}
        expected = {target: float(latency(p)) for target, latency in self.problem.hardware.latency.items()}
        entropy = float(normalised_entropy(p, self.ways))
        self.history.append(Record(self.step, phase, loss, entropy, self.config.temperature[1], expected, shares))

    def _parts(self, step: int) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.optimiser.state_dict(),
            "choices": self.for_choices.state_dict(),
            "step": step,
            "history": [asdict(record) for record in self.history],
            "result": None if self.result is None else asdict(self.result),
            "alive": None if self.contest is None else self.contest.alive,
        }

    def _save(self) -> None:
        save_state(self.problem.state, self._parts(self.step + 1))

    def _resume(self, report: Report) -> None:
        """From this search's own checkpoint, or from the weights that another one has warmed up already."""
        warm = self.problem.warm
        if self.problem.state.exists():
            place = self.problem.state
        elif warm is not None and warm.exists():
            place = warm
        else:
            return
        saved = torch.load(place, "cpu", weights_only=True)
        self.supernet.load_state_dict(saved["supernet"])
        self.weights.optimiser.load_state_dict(saved["weights"])
        self.for_choices.load_state_dict(saved["choices"])
        self.step = min(saved["step"], self.steps)
        self.history = [Record(**record) for record in saved["history"]]
        if saved["result"] is not None:
            rounding = saved["result"]["rounding"] and Rounding(**saved["result"]["rounding"])
            self.result = SearchResult(**{**saved["result"], "rounding": rounding, "history": self.history})
        if saved["alive"] is not None:
            self.contest = Contest(self.plan, self.config.seed, saved["alive"])
        self.problem.reseed(self.step)
        report(self.step / self.steps, f"goes on at step {self.step}")
