"""The interface of a method of search, and what it leaves. All share one budget, one table and one supernet."""

from __future__ import annotations

import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphopt.config.methods import METHODS
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.progress import Progress
from graphopt.search.problem import Problem

if TYPE_CHECKING:
    from graphopt.search.search import Search


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
    """Chooses a selection; what is left of the budget then trains it (`graphopt.search.search`).

    `steps` are the updates of the weights in all: the budget, less what choosing costs beside them.
    """

    def __init__(self, problem: Problem):
        self.problem, self.config, self.space = problem, problem.given.config, problem.given.space
        self.steps = self.config.steps

    @abstractmethod
    def choose(self, search: Search, say: Progress) -> SearchResult:
        """May train the weights by `search.update`, and say how it goes by `search.record`.

        A search that was killed calls it again with `search.step` and `restore` as they were at the last record.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the method: tensors and plain values."""
        return {}

    def restore(self, saved: Mapping[str, Any]) -> None:  # noqa: B027
        """What `state` gave."""


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
