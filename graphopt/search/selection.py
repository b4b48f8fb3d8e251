"""From probabilities to a selection that meets the latency goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.search.hardware import Hardware


def decide(space: Space, probabilities: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """The most probable option of each choice. The probability of exact candidates counts as that of `keep`."""
    selection = {}
    for name, choice in space.choices.items():
        shares: dict[str, float] = {}
        for option, share in zip(choice.options, probabilities[name], strict=True):
            counted = option if option == KEEP or choice.candidates[option].contract != "exact" else KEEP
            shares[counted] = shares.get(counted, 0.0) + float(share)
        selection[name] = max(shares, key=lambda option: shares[option])
    return selection


def meet_goal(
    space: Space, hardware: Hardware, selection: Selection, scores: Mapping[str, Sequence[float]]
) -> tuple[dict[str, str], list[str]]:
    """Turns further choices, the least score lost for what is saved first, until every goal is met.

    `scores[choice]` in the order of its options: probabilities, or what else is better the higher it is. Returns the
    selection and the choices that were turned. The search aims at the goal with expected costs; rounding
    probabilities to one option can miss it by a few sites.
    """
    turned: list[str] = []
    selection = dict(selection)
    table = hardware.table
    while hardware.missed(selection):
        now = hardware.violation(selection)
        best: tuple[float, str, str] | None = None
        for name, choice in space.choices.items():
            if any(selection[outer] != KEEP for outer in space.ancestors(name)):
                continue
            score = dict(zip(choice.options, map(float, scores[name]), strict=True))
            score |= dict.fromkeys(table.exact[name], score[KEEP])
            for option in choice.options:
                if option == selection[name]:
                    continue
                saved = now - hardware.violation({**selection, name: option})
                if saved > 1e-9:
                    regret = max(score[selection[name]] - score[option], 1e-6) / saved
                    best = min(best, (regret, name, option)) if best else (regret, name, option)
        if best is None:
            return selection, turned
        selection[best[1]] = best[2]
        turned.append(best[1])
    return selection, turned


def with_exact(
    space: Space,
    table: CostTable,
    selection: Mapping[str, str],
    weights: Mapping[str, float],
    goals: Mapping[str, float],
) -> dict[str, str]:
    """Where `keep` is selected, the exact candidate that is cheaper takes its place: price alone decides.

    Not where it is dearer on a target whose goal (ms) would then be missed.
    """
    found = dict(selection)
    for name, option in selection.items():
        if option == KEEP:
            trial = {**found, name: table.cheapest_exact(name, weights)}
            worse = [t for t in goals if table.expected_ms(space, trial, t) > table.expected_ms(space, found, t)]
            if all(table.expected_ms(space, trial, target) <= goals[target] for target in worse):
                found = trial
    return found
