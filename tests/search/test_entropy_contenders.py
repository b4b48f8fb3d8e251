"""Selections to choose between: different, within the goals, and the likely ones first."""

from __future__ import annotations

import pytest
from search_toys import TARGET, Drop, cost, hardware_of, toy_space

from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Selection
from graphopt.search.entropy import contenders
from graphopt.search.wholes import Aim


def dropped(selection: Selection) -> tuple[str, ...]:
    return tuple(sorted(name.split("/")[0] for name, option in selection.items() if option == "drop"))


def test_contenders_are_different_and_meet_the_goals() -> None:
    """4 ms, 1 ms saved by each: two of three go. Dropping `second` loses most."""
    space = toy_space(Drop())
    aim = Aim(hardware_of(space, 2.0), None, {}, [])
    losses = {"first": 0.2, "second": 0.3, "third": 0.21}
    lost = {name: {KEEP: 0.0, "drop": losses[name.split("/")[0]]} for name in space.choices}
    found = contenders(aim, lost, 32, 0.5, seed=0)
    pairs = [dropped(selection) for selection in found]
    assert pairs[0] == ("first", "third")
    assert len(set(pairs)) == len(pairs) >= 2
    assert all(len(pair) == 2 for pair in pairs)
    assert contenders(aim, lost, 32, 0.5, seed=0) == found
    assert contenders(aim, lost, 1, 0.5, seed=0) == contenders(aim, lost, 32, 0.0, seed=0) == found[:1]


def test_what_was_priced_as_a_whole_and_meets_the_goals_takes_part() -> None:
    """Any two of three go for 2 ms, but as wholes only those with `second` get there."""
    space = toy_space(Drop())

    def whole(selection: Selection) -> dict[str, Cost]:
        gone = [name.split("/")[0] for name, option in selection.items() if option == "drop"]
        return {TARGET: cost(2.0 if "second" in gone and len(gone) > 1 else 3.0)}

    aim = Aim(hardware_of(space, 2.0), whole, {TARGET: cost(4.0)}, [])
    pairs = [
        {n: KEEP if n.startswith(kept) else "drop" for n in space.choices} for kept in ("first", "third", "second")
    ]
    for pair in pairs:
        aim.look(pair)
    lost = {name: {KEEP: 0.0, "drop": 0.1 if name.startswith("third") else 0.2} for name in space.choices}
    assert aim.all_met(lost) == [pairs[0], pairs[1]]
    found = contenders(aim, lost, 4, 0.5, seed=0)
    assert found[:2] == [pairs[0], pairs[1]]
    assert pairs[2] not in found
    assert contenders(aim, lost, 1, 0.5, seed=0) == [pairs[0]]


def test_where_no_whole_meets_the_goals_the_first_draw_is_left_and_none_is_an_error() -> None:
    space = toy_space(Drop())
    lost = {name: {KEEP: 0.0, "drop": 0.1} for name in space.choices}
    aim = Aim(hardware_of(space, 2.0), lambda selection: {TARGET: cost(3.9)}, {TARGET: cost(4.0)}, [])
    assert len(contenders(aim, lost, 4, 0.5, seed=0)) == 1
    with pytest.raises(GraphoptError, match="no selection meets every goal"):
        contenders(Aim(hardware_of(space, 0.5), None, {}, []), lost, 4, 0.5, seed=0)
