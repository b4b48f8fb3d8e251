"""From the probabilities of a search to a selection that meets every goal, by two integer programmes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.ir.space import KEEP
from graphopt.search.hardware import Hardware
from graphopt.search.milp import solve
from graphopt.search.selection import decide
from graphopt.search.sensitivity import Sensitivity

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
    space, exact = hardware.space, hardware.table.exact
    wanted = decide(space, probabilities)
    unlikely = {
        name: {o: -math.log(max(p, LEAST)) for o, p in zip(choice.options, probabilities[name], strict=True)}
        for name, choice in space.choices.items()
    }
    likely = solve(hardware, {name: _from_least(row) for name, row in unlikely.items()})
    turned = [name for name in _running(hardware, likely) if likely[name] != wanted[name]]
    if sensitivity is None:
        return Decision(likely, turned, [])
    allowed = {name: {likely[name], KEEP, *exact[name]} for name in space.choices}
    losses = {
        name: {o: sensitivity[name][o] if o in allowed[name] else BARRED for o in choice.options}
        for name, choice in space.choices.items()
    }
    chosen = solve(hardware, losses)
    return Decision(chosen, turned, [name for name in _running(hardware, chosen) if chosen[name] != likely[name]])


def _from_least(row: Mapping[str, float]) -> dict[str, float]:
    least = min(row.values())
    return {option: value - least for option, value in row.items()}


def _running(hardware: Hardware, selection: Mapping[str, str]) -> list[str]:
    """The choices that are not inside a replaced site."""
    space = hardware.space
    return [n for n in space.choices if all(selection[outer] == KEEP for outer in space.ancestors(n))]
