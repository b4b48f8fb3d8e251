"""From probabilities to a selection that meets the latency goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Space


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
    space: Space,
    table: CostTable,
    selection: dict[str, str],
    probabilities: Mapping[str, Sequence[float]],
    goals: Mapping[str, float],
) -> tuple[dict[str, str], list[str]]:
    """Turns further choices, the least probable loss for each millisecond first, until every goal (ms) is met.

    Returns the selection and the choices that were turned. The search aims at the goal with its expected latency;
    rounding probabilities to one option can miss it by a few sites.
    """
    turned: list[str] = []
    selection = dict(selection)
    while True:
        missed = {t: table.expected_ms(space, selection, t) - goal for t, goal in goals.items()}
        missed = {target: excess for target, excess in missed.items() if excess > 1e-9}
        if not missed:
            return selection, turned
        best: tuple[float, str, str] | None = None
        for name, choice in space.choices.items():
            if any(selection[outer] != KEEP for outer in space.ancestors(name)):
                continue
            now = selection[name]
            share = dict(zip(choice.options, map(float, probabilities[name]), strict=True))
            share |= dict.fromkeys(table.exact[name], share[KEEP])
            for option in choice.options:
                trial = {**selection, name: option}
                saved = sum(
                    min(excess, table.expected_ms(space, selection, t) - table.expected_ms(space, trial, t)) / goals[t]
                    for t, excess in missed.items()
                )
                if option != now and saved > 1e-12:
                    regret = max(share[now] - share[option], 1e-6) / saved
                    best = min(best, (regret, name, option)) if best else (regret, name, option)
        if best is None:
            return selection, turned
        selection[best[1]] = best[2]
        turned.append(best[1])


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
