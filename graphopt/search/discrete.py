"""Searches that choose first and train the chosen network afterwards, with what is left of the same budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from graphopt.progress import Progress
from graphopt.search.problem import Problem, Record, SearchResult, WeightTraining, one_hot, save_state

# Chooses; returns the selection and the training steps that this took. `report` takes a share and words.
Chooser = Callable[[Problem, Progress], tuple[dict[str, str], int]]


class DiscreteSearch:
    """`choose`, then training of the supernet's weights along the chosen path. Goes on from `problem.state`."""

    def __init__(self, problem: Problem, choose: Chooser):
        torch.manual_seed(problem.config.seed)
        self.problem, self.config, self.choose = problem, problem.config, choose
        self.history: list[Record] = []

    def run(self, report: Progress) -> SearchResult:
        """The chosen options have probability 1."""
        saved = self._saved()
        if saved is None:
            found = self.choose(self.problem, lambda share, words: report(share / 2, words))
            selection, spent = self.problem.fabric.broadcast(found)
        else:
            selection, spent = saved["selection"], saved["spent"]
        total = max(0, self.config.budget - spent)
        weights = WeightTraining(self.problem, max(1, total))
        first = 0
        if saved is not None:
            self.problem.supernet.load_state_dict(saved["supernet"])
            weights.optimiser.load_state_dict(saved["weights"])
            first = saved["step"]
            self.history = [Record(**record) for record in saved["history"]]
            report(0.5 + first / max(1, total) / 2, f"goes on at step {spent + first}")
        probabilities = one_hot(self.problem.space, selection)
        self.problem.reseed(spent + first)
        for step in range(first, total):
            loss = weights.update(step, selection=selection)
            if step % self.config.record_every == 0 or step == total - 1:
                costs = self.problem.hardware.costs(selection)
                self.history.append(Record(spent + step, "chosen", loss, 0.0, None, costs, probabilities))
                self._save(selection, spent, weights, step + 1)
            words = f"chosen; trains step {step + 1}/{total}, {-loss:.2f} dB"
            report(0.5 + (step + 1) / total / 2, words)
        self._save(selection, spent, weights, total)
        return SearchResult(probabilities, selection, history=self.history)

    def _saved(self) -> dict[str, Any] | None:
        if not self.problem.state.exists():
            return None
        found: dict[str, Any] = torch.load(self.problem.state, "cpu", weights_only=True)
        return found

    def _save(self, selection: dict[str, str], spent: int, weights: WeightTraining, step: int) -> None:
        save_state(
            self.problem.fabric,
            self.problem.state,
            {
                "selection": selection,
                "spent": spent,
                "supernet": self.problem.supernet.state_dict(),
                "weights": weights.optimiser.state_dict(),
                "step": step,
                "history": [asdict(record) for record in self.history],
            },
        )
