"""Expected values over nested choices, normalised entropy, and the schedules of the search (docs/search.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Space

Probabilities = Mapping[str, Tensor]


class Expectation:
    """E[v] = sum_i P(the sites around i are kept) * sum_k p_ik * v_ik, where v_ik is a value of each option."""

    def __init__(self, space: Space, values: Mapping[str, Sequence[float]]):
        """`values[choice]` in the order of its options."""
        self._ancestors = {name: list(space.ancestors(name)) for name in space.choices}
        self._values = {name: torch.tensor(values[name]) for name in space.choices}

    def __call__(self, probabilities: Probabilities) -> Tensor:
        total = torch.zeros(())
        for name, values in self._values.items():
            present = torch.ones(())
            for outer in self._ancestors[name]:
                present = present * probabilities[outer][0]
            total = total + present * (probabilities[name] * values).sum()
        return total


class ExpectedLatency:
    """E[lat] = base + E[delta], on one target, in ms.

    `keep` counts at the price of the cheapest exact candidate beside it: they compute the same.
    """

    def __init__(self, space: Space, table: CostTable, target: str):
        self.target = target
        self.base = table.base[target].latency_ms
        deltas = {}
        for name, choice in space.choices.items():
            rows = {option: row[target].latency_ms for option, row in table.deltas[name].items()}
            as_keep = (KEEP, *table.exact[name])
            cheapest = min(rows[option] for option in as_keep)
            deltas[name] = [cheapest if option in as_keep else rows[option] for option in choice.options]
        self._deltas = Expectation(space, deltas)

    def __call__(self, probabilities: Probabilities) -> Tensor:
        return self.base + self._deltas(probabilities)


def normalised_entropy(probabilities: Probabilities, ways: Mapping[str, int]) -> Tensor:
    """(1/N) sum_i H(p_i) / ln K_i: 1 where nothing is decided, 0 where everything is.

    `ways[i]` is K_i, the options that compute something else (exact candidates compute what `keep` does). A choice
    with one way has nothing to decide and does not count.
    """
    terms = [
        -(p * p.clamp_min(1e-12).log()).sum() / math.log(ways[name])
        for name, p in probabilities.items()
        if ways[name] > 1
    ]
    return torch.stack(terms).mean() if terms else torch.zeros(())


def entropy_weight(progress: float, strength: float) -> float:
    """-strength at the start (explore), +strength at the end (decide), half a cosine between; the sign flips once."""
    return -strength * math.cos(math.pi * progress)


def temperature(progress: float, start: float, end: float) -> float:
    """Geometric from `start` to `end`."""
    return start * (end / start) ** progress
