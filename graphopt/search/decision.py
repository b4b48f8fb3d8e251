"""From the probabilities of a search to a selection that meets every goal, by two integer programmes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress

from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.search.hardware import Hardware
from graphopt.search.method import SearchResult
from graphopt.search.programme import solve
from graphopt.search.sensitivity import Sensitivity
from graphopt.search.wholes import Aim

Rows = Mapping[str, list[float]]  # the probabilities of each choice's options
LEAST = 1e-12  # a probability below this counts as this
BARRED = 1e3  # more than any sum of sensitivities, in dB


def decide_within(hardware: Hardware, rows: Rows, sensitivity: Sensitivity | None) -> SearchResult:
    """The most likely selection that meets every goal: max sum_i ln p_ik, p at temperature 1.

    What it leaves of the goals is spent where `sensitivity` is given: of the chosen candidates and `keep`, those with
    the least sum of sensitivities. Raises GraphoptError where no selection meets the goals.
    """
    space = hardware.space
    likely = solve(hardware, unlikeliness(space, rows))
    turned = changed(space, likely, decide(space, rows))
    if sensitivity is None:
        return SearchResult(rows, likely, turned)
    losses = {
        name: {o: sensitivity[name][o] if o in (likely[name], KEEP) else BARRED for o in choice.options}
        for name, choice in space.choices.items()
    }
    chosen = solve(hardware, losses)
    return SearchResult(rows, chosen, turned, changed(space, chosen, likely))


def decide_as_whole(aim: Aim, rows: Rows, sensitivity: Sensitivity | None, rounds: int) -> SearchResult:
    """`decide_within`; where its whole misses a goal, again with what that has taught, at most `rounds` times.

    If none of these meets the goals, the most likely one of all wholes that do; the last decision where none does.
    """
    decision = None
    with suppress(GraphoptError):  # nothing meets the goals, as far as is known now
        for _ in range(rounds + 1):
            decision = decide_within(aim.hardware, rows, sensitivity)
            if not aim.look(decision.selection) or aim.met(decision.selection):
                break
    if decision is not None and aim.met(decision.selection):
        return decision
    space = aim.hardware.space
    if (best := aim.best(unlikeliness(space, rows))) is not None:
        return SearchResult(rows, best, changed(space, best, decide(space, rows)))
    return decision or decide_within(aim.hardware, rows, sensitivity)


def decide(space: Space, rows: Rows) -> dict[str, str]:
    """The most probable option of each choice."""
    return {name: choice.options[rows[name].index(max(rows[name]))] for name, choice in space.choices.items()}


def changed(space: Space, selection: Selection, before: Selection) -> list[str]:
    """The choices in effect whose option is another one than before."""
    return [name for name in space.in_effect(selection) if selection[name] != before[name]]


def unlikeliness(space: Space, rows: Rows) -> dict[str, dict[str, float]]:
    """-ln p_ik, less the least of the choice."""
    found = {}
    for name, choice in space.choices.items():
        row = [-math.log(max(p, LEAST)) for p in rows[name]]
        found[name] = {option: value - min(row) for option, value in zip(choice.options, row, strict=True)}
    return found
