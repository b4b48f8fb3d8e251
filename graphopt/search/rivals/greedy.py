"""Greedy: from the network as it is, turn the choice that loses least for what it saves, until every goal is met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from graphopt.ir.space import KEEP, Selection
from graphopt.progress import Progress
from graphopt.search.additive import Additive
from graphopt.search.hardware import Hardware
from graphopt.search.method import Method, SearchResult, one_hot
from graphopt.search.peak import SHARPNESS, Peak
from graphopt.search.sensitivity import Sensitivity


class Greedy(Method):
    """By sensitivities (dB for each share of the goals that is saved). No training steps."""

    def choose(self, say: Progress) -> SearchResult:
        problem, kept = self.problem, dict.fromkeys(self.space.choices, KEEP)
        say(0.0, "turns one choice after another")
        found = meet_goals(problem.aim.hardware, kept, problem.sensitivity)[0]
        return SearchResult(one_hot(self.space, found), found)


def meet_goals(hardware: Hardware, selection: Selection, losses: Sensitivity) -> tuple[dict[str, str], list[str]]:
    """Turns further choices, the least loss for what is saved first, until every goal is met or no turn helps.

    Returns the selection, and the choices that were turned.
    """
    turned: list[str] = []
    selection = dict(selection)
    while hardware.missed(selection):
        now = violation(hardware, selection)
        best: tuple[float, str, str] | None = None
        for name in hardware.space.in_effect(selection):
            row: Mapping[str, float] = losses[name]
            for option in hardware.space.choices[name].options:
                if option == selection[name]:
                    continue
                saved = now - violation(hardware, {**selection, name: option})
                if saved > 1e-9:
                    regret = max(row[option] - row[selection[name]], 1e-6) / saved
                    best = min(best, (regret, name, option)) if best else (regret, name, option)
        if best is None:
            return selection, turned
        selection[best[1]] = best[2]
        turned.append(best[1])
    return selection, turned


def violation(hardware: Hardware, selection: Selection) -> float:
    """The sum of all excess above 0: what a turn must lower, or turns could follow each other for ever.

    Memory counts with its smooth peak, too: one site of many at the peak shows when it is made smaller.
    """

    def smoothly(figure: Additive | Peak) -> float:
        if isinstance(figure, Additive):
            return figure.of(selection)
        return figure.bytes_of(selection, smooth_max) / figure.bytes_of({}, smooth_max)

    terms = [*hardware.excess(selection).values(), *hardware.memory_excess(smoothly).values()]
    return sum(max(0.0, value) for value in terms)


def smooth_max(values: Sequence[float]) -> float:
    """As that of `Peak` for expectations."""
    largest = max(values)
    scale = max(largest, 1.0) / SHARPNESS
    return largest + scale * math.log(sum(math.exp((value - largest) / scale) for value in values))
