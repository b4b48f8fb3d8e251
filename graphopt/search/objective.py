"""Expected latency over nested choices, normalised entropy, and the schedules of the search (docs/search.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from graphopt.cost.table import CostTable
from graphopt.ir.space import Space

Probabilities = Mapping[str, Tensor]


class ExpectedLatency:
    """E[lat] = base + sum_i P(the sites around i are kept) * sum_k p_ik * delta_ik, on one target, in ms.

    `keep` counts at the price of the cheapest exact candidate beside it: they compute the same.
    """

    def __init__(self, space: Space, table: CostTable, target: str):
        self.target = target
        self.base = table.base[target].latency_ms
        self._ancestors = {name: list(space.ancestors(name)) for name in space.choices}
        self._deltas = {}
        for name, choice in space.choices.items():
            rows = table.deltas[name]
            exact = min(rows[option][target].latency_ms for option in ("keep", *table.exact[name]))
            deltas = [
                exact if o == "keep" or o in table.exact[name] else rows[o][target].latency_ms for o in choice.options
            ]
            self._deltas[name] = torch.tensor(deltas)

    def __call__(self, probabilities: Probabilities) -> Tensor:
        total = torch.tensor(self.base)
        for name, deltas in self._deltas.items():
            present = torch.ones(())
            for outer in self._ancestors[name]:
                present = present * probabilities[outer][0]
            total = total + present * (probabilities[name] * deltas).sum()
        return total


def normalised_entropy(probabilities: Probabilities) -> Tensor:
    """(1/N) sum_i H(p_i) / ln K_i: 1 where nothing is decided, 0 where everything is."""
    terms = [-(p * p.clamp_min(1e-12).log()).sum() / math.log(len(p)) for p in probabilities.values()]
    return torch.stack(terms).mean()


def entropy_weight(progress: float, strength: float) -> float:
    """-strength at the start (explore), +strength at the end (decide), half a cosine between; the sign flips once."""
    return -strength * math.cos(math.pi * progress)


def temperature(progress: float, start: float, end: float) -> float:
    """Geometric from `start` to `end`."""
    return start * (end / start) ** progress
