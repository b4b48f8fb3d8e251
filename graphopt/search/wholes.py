"""Aims where parts do not add up: whole networks are priced, and correct the additive models around the goals.

On an NPU whose compiler plans the memory of the network as a whole, neither the latency nor the memory of a selection
is the sum of its parts, but both are nearly additive among selections that meet about the same goals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.space import Selection
from graphopt.progress import Progress
from graphopt.search.additive import Additive, Doubt, corrected, latency_of
from graphopt.search.hardware import Hardware, missed
from graphopt.search.programme import reachable, solve
from graphopt.search.sensitivity import Sensitivity, varied

Price = Callable[[Selection], Mapping[str, Cost]]
# Shares of the original's figure, chosen on one network (docs/npu.md); `far` is a share of a distance
LATENCY = Doubt(base=0.3, own=0.03, of_pass=0.3, of_all=0.3, noise=0.03, far=0.1)
MEMORY = Doubt(base=0.3, own=0.06, alike=0.02, noise=0.03, far=0.1)
TRIES = 2  # selections for each that is wanted: some are known already, some miss a goal as a whole
VARIED = 0.4  # of the logarithm of what an option loses, every other time: what is seen must not all be alike


@dataclass(frozen=True)
class Whole:
    """A selection, and its price as one network on each target that is priced so."""

    selection: dict[str, str]
    costs: Mapping[str, Cost]


class Aim:
    """Looks at whole networks, priced on the targets of `original`; `hardware` is what `seen` has taught so far."""

    def __init__(self, hardware: Hardware, price: Price | None, original: Mapping[str, Cost], seen: list[Whole]):
        self.first, self.price, self.original, self.seen = hardware, price, original, seen
        self.refused: list[dict[str, str]] = []  # by the compiler
        self.hardware = self._learnt()

    def search(self, losses: Sensitivity, rounds: int, report: Progress) -> None:
        """Prices the selections that lose least by `losses`, and others like them, and learns from each."""
        first, again = len(self.seen), False
        for number in range(TRIES * rounds):
            priced = len(self.seen) - first
            if priced >= rounds:
                break
            report(priced / rounds, f"prices whole network {priced + 1}/{rounds}")
            wanted = varied(losses, VARIED, np.random.default_rng(number)) if number % 2 or again else losses
            try:
                selection = solve(self.hardware, wanted)
            except GraphoptError:  # nothing meets the goals as far as is known
                selection = reachable(self.hardware)[0]
            again = not self.look(selection)

    def look(self, selection: Selection) -> bool:
        """Prices a selection as a whole; False where that is known already, or not asked for."""
        selection = dict(selection)
        known = [*(whole.selection for whole in self.seen), *self.refused]
        if self.price is None or not self.original or selection in known:
            return False
        try:
            costs = dict(self.price(selection))
        except GraphoptError:
            self.refused.append(selection)
            if not self.seen:  # most likely all are
                raise
            return False
        self.seen.append(Whole(selection, costs))
        self.hardware = self._learnt()
        return True

    def met(self, selection: Selection) -> bool:
        """Whether a selection meets every goal, and can be compiled."""
        return dict(selection) not in self.refused and not self.missed(selection)

    def missed(self, selection: Selection) -> dict[str, float]:
        """By term, the excess of the goals that a selection misses: as a whole where targets are priced so."""
        costs = next((whole.costs for whole in self.seen if whole.selection == dict(selection)), {})
        excess, goals = self.first.excess(selection), self.first.goals
        for target, cost in costs.items():
            excess[f"latency on {target}"] = cost.latency_ms / goals.latency_ms[target] - 1
            if target in goals.memory_bytes:
                excess[f"memory on {target}"] = cost.peak_memory_bytes / goals.memory_bytes[target] - 1
        return missed(excess)

    def all_met(self, losses: Sensitivity) -> list[dict[str, str]]:
        """All that was looked at and meets the goals, what loses least first."""
        met = [whole.selection for whole in self.seen if self.met(whole.selection)]
        return sorted(met, key=lambda selection: lost(self.first, losses, selection))

    def best(self, losses: Sensitivity) -> dict[str, str] | None:
        """What loses least of these."""
        return next(iter(self.all_met(losses)), None)

    def _learnt(self) -> Hardware:
        """The table's latency and a memory at its goal, corrected by what was seen."""
        space, table, goals = self.first.space, self.first.table, self.first.goals
        latency, memory = {}, {}
        for target, original in self.original.items():
            goal, held = goals.latency_ms[target], original.peak_memory_bytes
            allowed = goals.memory_bytes.get(target, held)
            unknown = {name: [0.0] * len(choice.options) for name, choice in space.choices.items()}
            latency[target], memory[target] = latency_of(space, table, target), Additive(space, allowed, unknown)
            if self.seen:
                times = [(whole.selection, whole.costs[target].latency_ms) for whole in self.seen]
                peaks = [(whole.selection, float(whole.costs[target].peak_memory_bytes)) for whole in self.seen]
                latency[target] = corrected(latency[target], times, LATENCY.times(original.latency_ms), goal)
                memory[target] = corrected(memory[target], peaks, MEMORY.times(held), allowed)
        return Hardware(space, table, self.first.live, goals, latency, memory)


def lost(hardware: Hardware, losses: Sensitivity, selection: Selection) -> float:
    """The sum of what a selection loses."""
    return sum(losses[name][option] for name, option in hardware.space.in_effect(selection).items())
