"""From the probabilities of a search to a selection that meets every goal, by two integer programmes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Space
from graphopt.search.hardware import Hardware
from graphopt.search.programme import solve
from graphopt.search.sensitivity import Sensitivity
from graphopt.search.wholes import Aim

LEAST = 1e-12  # a probability below this counts as this
BARRED = 1e3  # more than any sum of sensitivities, in dB


@dataclass(frozen=True)
class Decision:
    """A selection, and where it is not the most probable one.

    `turned`: choices that had to change for the goals. `restored`: choices that went back to `keep` as there was room.
    """

    selection: dict[str, str]
    turned: list[str]
    restored: list[str]


def decide_within(
    hardware: Hardware, probabilities: Mapping[str, Sequence[float]], sensitivity: Sensitivity | None
) -> Decision:
    """The most likely selection that meets every goal: max sum_i ln p_ik, p at temperature 1.

    What it leaves of the goals is spent where `sensitivity` is given: of the chosen candidates and `keep`, those with
    the least sum of sensitivities. Raises GraphoptError where no selection meets the goals.
    """
    space = hardware.space
    wanted = decide(space, probabilities)
    likely = solve(hardware, unlikeliness(hardware, probabilities))
    turned = [name for name in space.in_effect(likely) if likely[name] != wanted[name]]
    if sensitivity is None:
        return Decision(likely, turned, [])
    allowed = {name: {likely[name], KEEP} for name in space.choices}
    losses = {
        name: {o: sensitivity[name][o] if o in allowed[name] else BARRED for o in choice.options}
        for name, choice in space.choices.items()
    }
    chosen = solve(hardware, losses)
    return Decision(chosen, turned, [name for name in space.in_effect(chosen) if chosen[name] != likely[name]])


def decide_as_whole(
    aim: Aim, probabilities: Mapping[str, Sequence[float]], sensitivity: Sensitivity | None, rounds: int
) -> Decision:
    """`decide_within`; where its whole misses a goal, again with what that has taught, at most `rounds` times.

    If none of these meets the goals, the most likely one of all wholes that do; the last decision where none does.
    """
    decision = None
    for _ in range(rounds + 1):
        try:
            decision = decide_within(aim.hardware, probabilities, sensitivity)
        except GraphoptError:  # as far as is known now
            break
        if not aim.look(decision.selection) or aim.met(decision.selection):
            break
    if decision is not None and aim.met(decision.selection):
        return decision
    best = aim.best(unlikeliness(aim.hardware, probabilities))
    if best is None and decision is None:
        raise GraphoptError("search: no selection meets every goal")
    if best is None:
        assert decision is not None
        return decision
    wanted = decide(aim.hardware.space, probabilities)
    return Decision(best, [n for n in aim.hardware.space.in_effect(best) if best[n] != wanted[n]], [])


def decide(space: Space, probabilities: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """The most probable option of each choice."""
    selection = {}
    for name, choice in space.choices.items():
        shares = dict(zip(choice.options, probabilities[name], strict=True))
        selection[name] = max(shares, key=lambda option: shares[option])
    return selection


def unlikeliness(hardware: Hardware, probabilities: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """-ln p_ik, less the least of the choice."""
    found = {}
    for name, choice in hardware.space.choices.items():
        row = {o: -math.log(max(p, LEAST)) for o, p in zip(choice.options, probabilities[name], strict=True)}
        found[name] = {option: value - min(row.values()) for option, value in row.items()}
    return found
