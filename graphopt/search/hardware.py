"""The hardware terms: latency and memory on each target and parameters, against their goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphopt.config.search import SearchConfig
from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable
from graphopt.ir.space import Selection, Space
from graphopt.search.additive import Additive, Probabilities, latency_of, parameters_of
from graphopt.search.objective import ExpectedPeak


@dataclass(frozen=True)
class Goals:
    """What the chosen network may cost. `latency_ms` names every searched target; the others may be left open."""

    latency_ms: Mapping[str, float]
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    parameters: float | None = None


@dataclass(frozen=True)
class Wholes:
    """Additive models of a target that whole networks have corrected."""

    latency_ms: Additive
    memory_bytes: Additive


class Hardware:
    """Relative excess over the goals, expected (for gradients) or of a selection (for everything else)."""

    def __init__(
        self, space: Space, table: CostTable, live: LiveBytes | None, goals: Goals, weights: Mapping[str, float],
        config: SearchConfig, wholes: Mapping[str, Wholes] | None = None,
    ):  # fmt: skip
        """`weights` by target, of sum 1. `live` is needed where memory has a goal.

        `wholes` has the targets whose parts do not add up to a whole, and what was learnt from whole networks there.
        """
        self.space, self.table, self.goals, self.weights, self.config = space, table, goals, weights, config
        self.wholes = wholes or {}
        self.latency = {
            t: self.wholes[t].latency_ms if t in self.wholes else latency_of(space, table, t) for t in goals.latency_ms
        }
        self.parameters = parameters_of(space, table)
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
            memory = {
                t: (
                    self.wholes[t].memory_bytes(probabilities)
                    if t in self.wholes
                    else self.table.base[t].peak_memory_bytes * share
                )
                / goal
                - 1
                for t, goal in self.goals.memory_bytes.items()
            }
            total = total + objective.memory_weight * self._over_targets(memory)
        if self.goals.parameters is not None:
            excess = self.parameters(probabilities) / self.goals.parameters - 1
            total = total + objective.parameter_weight * excess.clamp_min(0)
        return total

    def _over_targets(self, excess: Mapping[str, Tensor]) -> Tensor:
        if self.config.objective.targets == "worst":
            return torch.stack(list(excess.values())).max().clamp_min(0)
        return torch.stack([self.weights[target] * value.clamp_min(0) for target, value in excess.items()]).sum()

    def excess(self, selection: Selection) -> dict[str, float]:
        """By term, how far a selection is above its goal, relative; at or below 0 it is met.

        Of sums of parts, as whole networks have corrected them.
        """
        costs = self.costs(selection)
        found = {f"latency on {t}": costs[t] / goal - 1 for t, goal in self.goals.latency_ms.items()}
        if self.goals.parameters is not None:
            found["parameters"] = self.parameters.of(selection) / self.goals.parameters - 1
        return found | self._memory(selection, smooth=False)

    def _memory(self, selection: Selection, smooth: bool) -> dict[str, float]:
        if not self.goals.memory_bytes:
            return {}
        assert self.peak is not None
        share = self.peak.of(selection, smooth)
        held = {
            t: self.wholes[t].memory_bytes.of(selection)
            if t in self.wholes
            else share * self.table.base[t].peak_memory_bytes
            for t in self.goals.memory_bytes
        }
        return {f"memory on {t}": held[t] / goal - 1 for t, goal in self.goals.memory_bytes.items()}

    def violation(self, selection: Selection) -> float:
        """The sum of all excess above 0: what a turn must lower, or turns could follow each other for ever.

        Memory counts with its smooth peak, too: one site of many at the peak shows when it is made smaller.
        """
        terms = [*self.excess(selection).values(), *self._memory(selection, smooth=True).values()]
        return sum(max(0.0, value) for value in terms)

    def missed(self, selection: Selection) -> dict[str, float]:
        """The terms whose goals a selection misses, and by how much."""
        return {name: value for name, value in self.excess(selection).items() if value > 1e-6}

    def costs(self, selection: Selection) -> dict[str, float]:
        """The sum of parts on every searched target, as whole networks have corrected it, in ms."""
        return {
            t: self.wholes[t].latency_ms.of(selection)
            if t in self.wholes
            else self.table.expected_ms(self.space, selection, t)
            for t in self.goals.latency_ms
        }
