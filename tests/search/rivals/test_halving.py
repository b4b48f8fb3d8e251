"""Successive halving: the better half at equal shares."""

from __future__ import annotations

import math

from graphopt.search.rivals.halving import halved
from graphopt.search.tempering import Plan, Tempering


def test_halving_gives_equal_shares_to_the_better_half() -> None:
    assert halved([0.4, 0.1, math.nan, 0.2], math.log(2)) == [0.0, 0.5, 0.0, 0.5]
    assert halved([0.4, 0.1, 0.3], 0.0) == [0.0, 1.0, 0.0]
    assert halved([0.4, 0.1], math.log(8)) == [0.5, 0.5]
    names = [{"choice": str(number)} for number in range(8)]
    tempering = Tempering(Plan(16, (8, 4, 2), 62), 0, halved, list(names))
    left = []
    for step in range(48):
        turn = tempering.turn(step)
        assert tempering.shares[tempering.selections.index(turn)] > 0
        tempering.judge(step, lambda selection: abs(int(selection["choice"]) - 5.2))
        left.append(sum(share > 0 for share in tempering.shares))
    assert (left[14], left[15], left[31], left[47]) == (8, 4, 2, 1)
    assert tempering.best == {"choice": "5"}
