"""What a selection costs, against the goals: latency and memory on each target, and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable
from graphopt.ir.space import Selection, Space
from graphopt.search.additive import Additive, latency_of, parameters_of
from graphopt.search.peak import Peak

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class Goals:
    """What the chosen network may cost: latency on every searched target, and the others where they are asked for."""

    latency_ms: Mapping[str, float]
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    parameters: float | None = None


class Hardware:
    """Figures (`Additive`, `Peak`) of a selection, or expected ones of probabilities; and their excess."""

    def __init__(
        self, space: Space, table: CostTable, live: LiveBytes | None, goals: Goals,
        latency: Mapping[str, Additive] | None = None, memory: Mapping[str, Additive] | None = None,
    ):  # fmt: skip
        """`live` is needed where memory has a goal. `latency` and `memory` are of targets whose parts do not add up."""
        self.space, self.table, self.live, self.goals = space, table, live, goals
        self.latency = {target: latency_of(space, table, target) for target in goals.latency_ms} | dict(latency or {})
        self.memory = dict(memory or {})
        self.parameters = parameters_of(space, table)
        self.peak = Peak(space, table, live) if live is not None else None

    def costs(self, selection: Selection) -> dict[str, float]:
        """The sum of parts on every searched target, as whole networks have corrected it, in ms."""
        return {target: latency.of(selection) for target, latency in self.latency.items()}

    def excess(self, selection: Selection) -> dict[str, float]:
        """By term, how far a selection is above its goal, relative; at or below 0 it is met."""
        found = {f"latency on {t}": ms / self.goals.latency_ms[t] - 1 for t, ms in self.costs(selection).items()}
        if self.goals.parameters is not None:
            found["parameters"] = self.parameters.of(selection) / self.goals.parameters - 1
        memory = self.memory_excess(lambda figure: figure.of(selection))
        return found | {f"memory on {target}": value for target, value in memory.items()}

    def memory_excess(self, value: Callable[[Additive | Peak], T]) -> dict[str, T]:
        """By target with a goal for memory, the excess; `value` says what to take of a figure."""
        peak = value(self.peak) if self.peak is not None else None
        found = {}
        for target, goal in self.goals.memory_bytes.items():
            if target in self.memory:
                held = value(self.memory[target])
            else:
                assert peak is not None
                held = self.table.base[target].peak_memory_bytes * peak
            found[target] = held / goal - 1
        return found

    def missed(self, selection: Selection) -> dict[str, float]:
        """The terms whose goals a selection misses, and by how much."""
        return missed(self.excess(selection))


def missed(excess: Mapping[str, float]) -> dict[str, float]:
    """The terms that count: solvers and sums round."""
    return {term: value for term, value in excess.items() if value > 1e-6}
