"""The hardware terms: latency and memory on each target and parameters, against their goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphopt.config import SearchConfig
from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.search.objective import ExpectedLatency, ExpectedParameters, ExpectedPeak, Probabilities


@dataclass(frozen=True)
class Goals:
    """What the chosen network may cost. `latency_ms` names every searched target; the others may be left open."""

    latency_ms: Mapping[str, float]
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    parameters: float | None = None


class Hardware:
    """Relative excess over the goals, expected (for gradients) or of a selection (for everything else)."""

    def __init__(
        self, space: Space, table: CostTable, live: LiveBytes | None, goals: Goals, weights: Mapping[str, float],
        config: SearchConfig,
    ):  # fmt: skip
        """`weights` by target, of sum 1. `live` is needed where memory has a goal."""
        self.space, self.table, self.goals, self.weights, self.config = space, table, goals, weights, config
        self.latency = {t: ExpectedLatency(space, table, t) for t in goals.latency_ms}
        self.parameters = ExpectedParameters(space, table)
        self.live = live
        self.peak = ExpectedPeak(space, table, live) if live is not None else None

    def penalty(self, probabilities: Probabilities) -> Tensor:
        """w_lat * sum_T w_T * max(0, E[lat_T] / goal_T - 1), the same for memory, and one term for parameters.

        With `objective.targets: worst`, the largest term over the targets stands for the sum. What is under its goal
        pulls at nothing.
        """
        config, objective = self.config, self.config.objective
        latency = {t: e(probabilities) / self.goals.latency_ms[t] - 1 for t, e in self.latency.items()}
        total = config.latency_weight * self._over_targets(latency)
        if self.goals.memory_bytes:
            assert self.peak is not None
            share = self.peak(probabilities)
            base = {t: self.table.base[t].peak_memory_bytes / goal for t, goal in self.goals.memory_bytes.items()}
            total = total + objective.memory_weight * self._over_targets({t: b * share - 1 for t, b in base.items()})
        if self.goals.parameters is not None:
            excess = self.parameters(probabilities) / self.goals.parameters - 1
            total = total + objective.parameter_weight * excess.clamp_min(0)
        return total

    def _over_targets(self, excess: Mapping[str, Tensor]) -> Tensor:
        if self.config.objective.targets == "worst":
            return torch.stack(list(excess.values())).max().clamp_min(0)
        return torch.stack([self.weights[target] * value.clamp_min(0) for target, value in excess.items()]).sum()

    def excess(self, selection: Selection, smooth: bool = False) -> dict[str, float]:
        """By term, how far a selection is above its goal, relative; at or below 0 it is met. Sums of parts.

        With a `smooth` peak of memory, one site of many at the peak shows when it is made smaller.
        """
        found = {
            f"latency on {target}": self.table.expected_ms(self.space, selection, target) / goal - 1
            for target, goal in self.goals.latency_ms.items()
        }
        if self.goals.memory_bytes:
            assert self.peak is not None
            share = float(self.peak(self._one_hot(selection), exact=not smooth))
            for target, goal in self.goals.memory_bytes.items():
                found[f"memory on {target}"] = share * self.table.base[target].peak_memory_bytes / goal - 1
        if self.goals.parameters is not None:
            found["parameters"] = float(self.parameters(self._one_hot(selection))) / self.goals.parameters - 1
        return found

    def missed(self, selection: Selection) -> dict[str, float]:
        """The terms whose goals a selection misses, and by how much."""
        return {name: value for name, value in self.excess(selection).items() if value > 1e-6}

    def _one_hot(self, selection: Selection) -> dict[str, Tensor]:
        """Exact candidates count as `keep`, which they stand for."""
        found = {}
        for name, choice in self.space.choices.items():
            option = selection.get(name, KEEP)
            counted = KEEP if option in self.table.exact[name] else option
            found[name] = torch.eye(len(choice.options))[choice.options.index(counted)]
        return found

    def costs(self, selection: Selection) -> dict[str, float]:
        """The sum of parts on every searched target, in ms."""
        return {t: self.table.expected_ms(self.space, selection, t) for t in self.goals.latency_ms}
