"""What the searches that train the supernet before they choose have in common: warm-up, history, going on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphopt.progress import Progress
from graphopt.search.objective import normalised_entropy
from graphopt.search.problem import (
    Problem,
    Record,
    Rounding,
    SearchResult,
    WeightTraining,
    one_hot,
    save_state,
)
from graphopt.search.sampling import routing


class SupernetSearch(ABC):
    """One search; `run` can be killed and goes on from `problem.state`.

    `steps` are the updates of the weights; of these, `warm_up` mix all options before anything is chosen.
    """

    def __init__(self, problem: Problem, way: str, warm_up: int, steps: int):
        torch.manual_seed(problem.config.seed)
        self.problem, self.config, self.supernet = problem, problem.config, problem.supernet
        self.way, self.steps = problem.config.forward or way, steps
        self.warm_up = warm_up
        self.weights = WeightTraining(problem, steps)
        self.step = 0
        self.history: list[Record] = []
        self.result: SearchResult | None = None

    @abstractmethod
    def choose(self, report: Progress) -> SearchResult:
        """After the warm-up. Takes `self.step` on with each update of the weights."""

    @abstractmethod
    def own_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside what all searches have."""

    @abstractmethod
    def take_own_state(self, saved: Mapping[str, Any]) -> None:
        """From a checkpoint."""

    def run(self, report: Progress) -> SearchResult:
        """Warms the weights up, chooses, and trains what is chosen. NaN stops it with the last good checkpoint kept."""
        self._resume(report)
        while self.step < self.warm_up:
            self._warm_up(report)
        if self.result is None:
            self.result = self.problem.fabric.broadcast(self.choose(report))
        one = {name: torch.tensor(row) for name, row in one_hot(self.problem.space, self.result.selection).items()}
        while self.step < self.steps:
            loss = self.weights.update(self.step, selection=self.result.selection)
            self.record("chosen", loss, one, self.step == self.steps - 1)
            self.step += 1
            report(self.step / self.steps, f"chosen; trains step {self.step}/{self.steps}, {-loss:.2f} dB")
        self._save()
        self.result.history = self.history
        return self.result

    def _warm_up(self, report: Progress) -> None:
        tau = self.config.temperature[0]
        loss = self.mix(tau)
        self.record("warm-up", loss, self.probabilities(tau), self.step == self.warm_up - 1, tau)
        self.step += 1
        if self.step == self.warm_up and self.problem.warm is not None:
            save_state(self.problem.fabric, self.problem.warm, self._parts(self.step))
        report(self.step / self.steps, f"warm-up step {self.step}/{self.steps}, {-loss:.2f} dB")

    def mix(self, tau: float) -> float:
        """One update of the weights with all options mixed; the loss, in dB."""
        random = self.problem.generator(self.step, 0)
        return self.weights.update(self.step, **routing(self.way, self.supernet, tau, random, for_choices=False))

    def probabilities(self, tau: float = 1.0) -> dict[str, Tensor]:
        """Of the logits, without gradients."""
        with torch.no_grad():
            return dict(self.supernet.probabilities(tau))

    @torch.no_grad()
    def start_from_sensitivities(self) -> None:
        """alpha_ik = -start * s_ik, so that the first mixtures are of what is likely to stay."""
        for name, choice in self.problem.space.choices.items():
            alpha = self.supernet.logits(name)
            lost = torch.tensor([self.problem.sensitivity[name][option] for option in choice.options])
            alpha.copy_(torch.where(alpha.isfinite(), -self.config.sensitivity_start * lost.clamp_min(0), alpha))

    def record(
        self,
        phase: str,
        loss: float,
        p: Mapping[str, Tensor],
        last: bool,
        tau: float | None = None,
        expected: Mapping[str, float] | None = None,
    ) -> None:
        """Every `record_every` steps, and at the `last` of a phase; with a checkpoint.

        `expected` ms are needed where the choices depend on each other.
        """
        if self.step % self.config.record_every and not last:
            return
        if expected is None:
            expected = {target: float(latency(p)) for target, latency in self.problem.hardware.latency.items()}
        rounded = {name: np.round(values.numpy(), 4).tolist() for name, values in p.items()}
        entropy = float(normalised_entropy(p))
        self.history.append(Record(self.step, phase, loss, entropy, tau, dict(expected), rounded))
        self._save()

    def _parts(self, step: int) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.optimiser.state_dict(),
            "step": step,
            "history": [asdict(record) for record in self.history],
            "result": None if self.result is None else asdict(self.result),
            **self.own_state(),
        }

    def _save(self) -> None:
        save_state(self.problem.fabric, self.problem.state, self._parts(self.step + 1))

    def _resume(self, report: Progress) -> None:
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
        self.step = min(saved["step"], self.steps)
        self.history = [Record(**record) for record in saved["history"]]
        if saved["result"] is not None:
            rounding = saved["result"]["rounding"] and Rounding(**saved["result"]["rounding"])
            self.result = SearchResult(**{**saved["result"], "rounding": rounding, "history": self.history})
        self.take_own_state(saved)
        self.problem.reseed(self.step)
        report(self.step / self.steps, f"goes on at step {self.step}")
