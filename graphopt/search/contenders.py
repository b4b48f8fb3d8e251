"""Whole selections to choose between: each meets every goal, and loses little by what its candidates lose alone."""

from __future__ import annotations

import numpy as np

from graphopt.errors import GraphoptError
from graphopt.search.programme import solve
from graphopt.search.sensitivity import Sensitivity, varied
from graphopt.search.wholes import TRIES, Aim


def contenders(aim: Aim, sensitivity: Sensitivity, count: int, spread: float, seed: int) -> list[dict[str, str]]:
    """At least one selection, and up to `count` that meet the goals.

    Whole networks that were priced come first, those that lose least, for at most half of the places. Then the
    selections with the least sum of sensitivities, each times exp(spread * N(0, 1)); the very first as they are.
    Where nothing that was drawn meets the goals as a whole, the first draw is all there is.
    """
    random = np.random.default_rng([seed, 11])
    found = aim.all_met(sensitivity)[: max(1, count // 2)]
    first: dict[str, str] = {}
    for number in range(TRIES * count):
        if len(found) >= count:
            break
        try:
            selection = solve(aim.hardware, varied(sensitivity, spread if number else 0.0, random))
        except GraphoptError:  # a whole has taught that nothing meets the goals
            if not (found or first):
                raise
            break
        first = first or selection
        aim.look(selection)
        if aim.met(selection) and selection not in found:
            found.append(selection)
    return found or [first]
