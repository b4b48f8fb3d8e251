"""Differentiable search: warm up the weights, then weights and probabilities in turn, on disjoint patches.

L = L_restore + w_kd * L_output + lambda(t) * (1/N) sum_i H(p_i) / ln K_i + w_s * E[s] + hardware terms
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphopt.search.objective import Expectation, entropy_weight, normalised_entropy, temperature
from graphopt.search.problem import Problem, Record, Report, SearchResult, WeightTraining, save_state
from graphopt.search.sampling import routing


@dataclass(frozen=True)
class Method:
    """What tells one differentiable method from another: how the supernet runs, and the terms of its loss."""

    way: str
    entropy: bool = False
    sensitivity: bool = False


METHODS = {
    "entropy": Method("soft", entropy=True, sensitivity=True),
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
        self.sensitivity = Expectation(
            space, {n: [problem.sensitivity[n][o] for o in c.options] for n, c in space.choices.items()}
        )
        self.ways = {n: len(c.options) - len(table.exact[n]) for n, c in space.choices.items()}
        self.steps = config.warm_up_steps + config.steps
        self.weights = WeightTraining(problem, self.steps)
        self.for_choices = torch.optim.Adam(
            self.supernet.architecture_parameters(), config.choice_learning_rate, (0.5, 0.999)
        )
        self.step = 0
        self.history: list[Record] = []

    def run(self, report: Report) -> SearchResult:
        """Trains until the end. NaN stops it with the last good checkpoint kept."""
        self._resume(report)
        while self.step < self.steps:
            searching = self.step >= self.config.warm_up_steps
            progress = max(0.0, (self.step - self.config.warm_up_steps) / max(1, self.config.steps - 1))
            tau = temperature(progress, *self.config.temperature)
            if searching:
                self._update_choices(progress, tau)
            random = self.problem.generator(self.step, 0)
            loss = self.weights.update(self.step, **routing(self.way, self.supernet, tau, random, for_choices=False))
            if self.step % self.config.record_every == 0 or self.step == self.steps - 1:
                self._record("search" if searching else "warm-up", loss, tau)
                self._save()
            self.step += 1
            if self.step == self.config.warm_up_steps and self.problem.warm is not None:
                save_state(self.problem.warm, self._parts(self.step))
            last = self.history[-1]
            words = f"{last.phase} step {self.step}/{self.steps}, {-loss:.2f} dB, entropy {last.entropy:.2f}"
            report(self.step / self.steps, words)
        self._save()
        final = self.supernet.probabilities(self.config.temperature[1])
        return SearchResult({name: p.detach().tolist() for name, p in final.items()}, self.history)

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

    def _parts(self, step: int) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.optimiser.state_dict(),
            "choices": self.for_choices.state_dict(),
            "step": step,
            "history": [asdict(record) for record in self.history],
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
        saved = torch.load(place, weights_only=True)
        self.supernet.load_state_dict(saved["supernet"])
        self.weights.optimiser.load_state_dict(saved["weights"])
        self.for_choices.load_state_dict(saved["choices"])
        self.step = min(saved["step"], self.steps)
        self.history = [Record(**record) for record in saved["history"]]
        self.problem.reseed(self.step)
        report(self.step / self.steps, f"goes on at step {self.step}")
