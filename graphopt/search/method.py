"""What all methods of search share: one budget, one supernet and its training, the history, and checkpoints."""

from __future__ import annotations

import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphopt.config.methods import METHODS
from graphopt.config.training import TrainingKeys
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.progress import Progress
from graphopt.search.problem import Problem
from graphopt.train.schedule import cosine
from graphopt.train.trainer import Trainer


@dataclass(frozen=True)
class Record:
    """The search at one step."""

    step: int
    phase: str
    loss: float
    entropy: float  # normalised: 1 undecided, 0 decided
    temperature: float | None  # of the softmax over options, where there is one
    expected_ms: dict[str, float]
    probabilities: dict[str, list[float]]


@dataclass
class SearchResult:
    """Final probabilities of every choice, and a selection that meets every goal. The supernet has trained weights."""

    probabilities: Mapping[str, list[float]]
    selection: dict[str, str]
    turned: list[str] = field(default_factory=list)  # choices whose most probable option did not stay, for the goals
    restored: list[str] = field(default_factory=list)  # choices that went back to `keep` as there was room
    rounding: tuple[float, float] | None = None  # PSNR (dB) of the soft network and of the chosen one, when decided
    history: list[Record] = field(default_factory=list)


class Method(ABC):
    """Chooses a selection, then trains it with the rest of the budget.

    `steps` are the updates of the weights in all: the budget, less what choosing costs beside them.
    """

    def __init__(self, problem: Problem):
        self.problem, self.config, self.space = problem, problem.given.config, problem.given.space
        self.fabric, self.steps, rate = problem.given.fabric, self.config.steps, self.config.learning_rate
        weights = nn.ModuleList([problem.supernet.base, problem.supernet.fragments])
        keys = TrainingKeys(learning_rate=rate, ema=0, seed=self.config.seed)
        self.advice = f"lower search.learning_rate (now {rate:g}), and list bounded-gate among the passes"
        self._trainer = Trainer(weights, problem.samplers[0], keys, problem.state, "search", self.advice, self.fabric)
        self.history: list[Record] = []
        self.result: SearchResult | None = None

    @abstractmethod
    def choose(self, say: Progress) -> SearchResult:
        """May train by `update` and `record`; where a search was killed, it goes on as it was at the last record."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the method: tensors and plain values."""
        return {}

    def restore(self, saved: Mapping[str, Any]) -> None:  # noqa: B027
        """What `state` gave."""

    @property
    def step(self) -> int:
        """How many updates of the weights were made."""
        return self._trainer.step

    @property
    def share(self) -> float:
        """Of the updates that are made."""
        return self.step / max(1, self.steps)

    def run(self, say: Progress) -> SearchResult:
        """A loss that is not finite is a GraphoptError; the last good checkpoint is kept."""
        self._say = say
        if saved := self._trainer.resume():
            self._go_on(saved)
        if self.result is None:
            self.result = self.fabric.broadcast(self.choose(say))
            self._save()
        while self.step < self.steps:
            loss = self.update(selection=self.result.selection)
            self.record("chosen", loss, one_hot(self.space, self.result.selection), self.step == self.steps)
        self.result.history = self.history
        return self.result

    def update(self, **routing: Any) -> float:
        """One update of the weights on one batch, the supernet routed so; the loss, in dB."""
        peak = self.config.learning_rate
        rate = cosine(self.step / self.steps, peak, end=peak / 10, warm_up=0.05)
        loss, _ = self._trainer.gradients(self.config.patches, rate, partial(self.problem.loss, **routing))
        self._trainer.update()
        return loss

    def record(
        self, phase: str, loss: float, shares: Mapping[str, list[float]], last: bool, tau: float | None = None,
        expected: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """After an update. `expected` ms are needed where the choices depend on each other."""
        step = self.step - 1
        if step % self.config.record_every == 0 or last:
            p = {name: torch.tensor(row) for name, row in shares.items()}
            if expected is None:
                expected = {target: float(latency(p)) for target, latency in self.problem.aim.hardware.latency.items()}
            rounded = {name: np.round(values.numpy(), 4).tolist() for name, values in p.items()}
            self.history.append(Record(step, phase, loss, float(normalised_entropy(p)), tau, dict(expected), rounded))
            self._save()
        self._say(self.share, f"{phase} step {self.step}/{self.steps}, {-loss:.2f} dB")  # what is said is kept

    def _save(self) -> None:
        result = self.result and asdict(self.result)
        history = [asdict(record) for record in self.history]
        wholes = [whole.selection for whole in self.problem.aim.seen]
        self._trainer.save(method=self.state(), history=history, result=result, wholes=wholes)

    def _go_on(self, saved: Mapping[str, Any]) -> None:
        self.history = [Record(**record) for record in saved["history"]]
        self.restore(saved["method"])
        for selection in saved["wholes"]:  # what they taught is part of the problem; their prices are cached
            self.problem.aim.look(selection)
        self.result = saved["result"] and SearchResult(**saved["result"])
        self._say(self.share, f"goes on at step {self.step}")


def method_of(name: str, problem: Problem) -> Method:
    """The method that the configuration calls `name`."""
    made: Method = pkgutil.resolve_name(f"graphopt.search.{METHODS[name].place}")(problem)
    return made


def one_hot(space: Space, selection: Selection) -> dict[str, list[float]]:
    """Probabilities of 1 for what is selected."""
    return {
        name: [float(option == selection.get(name, KEEP)) for option in choice.options]
        for name, choice in space.choices.items()
    }


def normalised_entropy(probabilities: Mapping[str, Tensor]) -> Tensor:
    """(1/N) sum_i H(p_i) / ln K_i, with K_i options: 1 where nothing is decided, 0 where everything is."""
    terms = [-(p * p.clamp_min(1e-12).log()).sum() / math.log(len(p)) for p in probabilities.values()]
    return torch.stack(terms).mean() if terms else torch.zeros(())
