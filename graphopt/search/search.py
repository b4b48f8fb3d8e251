"""One search: a method chooses, and what it chose is trained with the rest of the budget. Killed, it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from graphopt.config.training import TrainingKeys
from graphopt.progress import Progress
from graphopt.search.method import Method, Record, SearchResult, normalised_entropy, one_hot
from graphopt.search.problem import Problem
from graphopt.train.schedule import cosine
from graphopt.train.trainer import Trainer


class Search:
    """The weights of the supernet in training, and the history. A checkpoint holds these and the method's state."""

    def __init__(self, problem: Problem, method: Method):
        self.problem, self.method, self.config = problem, method, problem.given.config
        self.fabric, rate = problem.given.fabric, self.config.learning_rate
        weights = nn.ModuleList([problem.supernet.base, problem.supernet.fragments])
        keys = TrainingKeys(learning_rate=rate, ema=0, seed=self.config.seed)
        self.advice = f"lower search.learning_rate (now {rate:g}), and list bounded-gate among the passes"
        self._trainer = Trainer(weights, problem.samplers[0], keys, problem.state, "search", self.advice, self.fabric)
        self.history: list[Record] = []
        self.result: SearchResult | None = None

    @property
    def step(self) -> int:
        """How many updates of the weights were made."""
        return self._trainer.step

    @property
    def share(self) -> float:
        """Of the updates that are made."""
        return self.step / max(1, self.method.steps)

    def run(self, say: Progress) -> SearchResult:
        """A loss that is not finite is a GraphoptError; the last good checkpoint is kept."""
        self._say = say
        if saved := self._trainer.resume():
            self._go_on(saved)
        if self.result is None:
            self.result = self.fabric.broadcast(self.method.choose(self, say))
            self._save()
        selection, steps = self.result.selection, self.method.steps
        while self.step < steps:
            loss = self.update(selection=selection)
            self.record("chosen", loss, one_hot(self.problem.given.space, selection), self.step == steps)
        self.result.history = self.history
        return self.result

    def update(self, **routing: Any) -> float:
        """One update of the weights on one batch, the supernet routed so; the loss, in dB."""
        peak = self.config.learning_rate
        rate = cosine(self.step / self.method.steps, peak, end=peak / 10, warm_up=0.05)
        loss, _ = self._trainer.gradients(self.config.patches, rate, partial(self.problem.loss, **routing))
        self._trainer.update()
        return loss

    def record(
        self, phase: str, loss: float, shares: Mapping[str, list[float]], last: bool, tau: float | None = None,
        expected: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """After an update, says so; every `record_every` steps, and at the `last` of a phase, with a checkpoint.

        `expected` ms are needed where the choices depend on each other.
        """
        self._say(self.share, f"{phase} step {self.step}/{self.method.steps}, {-loss:.2f} dB")
        step = self.step - 1
        if step % self.config.record_every and not last:
            return
        p = {name: torch.tensor(row) for name, row in shares.items()}
        if expected is None:
            expected = {target: float(latency(p)) for target, latency in self.problem.aim.hardware.latency.items()}
        rounded = {name: np.round(values.numpy(), 4).tolist() for name, values in p.items()}
        self.history.append(Record(step, phase, loss, float(normalised_entropy(p)), tau, dict(expected), rounded))
        self._save()

    def _save(self) -> None:
        result = self.result and asdict(self.result)
        history = [asdict(record) for record in self.history]
        wholes = [whole.selection for whole in self.problem.aim.seen]
        self._trainer.save(method=self.method.state(), history=history, result=result, wholes=wholes)

    def _go_on(self, saved: Mapping[str, Any]) -> None:
        self.history = [Record(**record) for record in saved["history"]]
        self.method.restore(saved["method"])
        for selection in saved["wholes"]:  # what they taught is part of the problem; their prices are cached
            self.problem.aim.look(selection)
        self.result = saved["result"] and SearchResult(**saved["result"])
        self._say(self.share, f"goes on at step {self.step}")
