"""From probabilities to a selection: the most likely one within the goals, and what is left of them is spent."""

from __future__ import annotations

import math

import pytest
from search_toys import Drop, DropPair, hardware_of, toy_space

from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Space
from graphopt.search.sites import decide_within


def shares(space: Space, of: dict[str, float]) -> dict[str, list[float]]:
    """The probability of the candidate by the first part of the choice's name; two options each."""
    return {name: [1 - of[name.split("/")[0]], of[name.split("/")[0]]] for name in space.choices}


def short(names: list[str]) -> list[str]:
    return [name.split("/")[0] for name in names]


def test_the_least_likely_change_is_not_made() -> None:
    """4 ms, 1 ms saved by each; two must go, and the pair that is likeliest together goes."""
    space = toy_space(Drop())
    p = shares(space, {"first": 0.4, "second": 0.001, "third": 0.3})
    decision = decide_within(hardware_of(space, 2.0), p, None)
    assert short([n for n, option in decision.selection.items() if option == "drop"]) == ["first", "third"]
    assert short(decision.turned) == ["first", "third"]
    assert decision.restored == []


def test_what_is_left_of_the_goal_goes_where_most_is_lost() -> None:
    """All three are likely to go, but two are enough: `second` returns, which loses most, though `third` is likelier."""
    space = toy_space(Drop())
    p = shares(space, {"first": 0.99, "second": 0.99, "third": 0.6})
    lost = {"first": 0.1, "second": 2.0, "third": 0.3}
    sensitivity = {name: {KEEP: 0.0, "drop": lost[name.split("/")[0]]} for name in space.choices}
    decision = decide_within(hardware_of(space, 2.0), p, sensitivity)
    assert decision.turned == []
    assert short(decision.restored) == ["second"]
    plain = decide_within(hardware_of(space, 2.0), p, None)
    assert set(plain.selection.values()) == {"drop"}


def test_only_what_the_search_chose_or_keep_is_spent_on() -> None:
    """Dropping the pair saves no less than both of its scales, loses nothing, and was not chosen: it stays out."""
    space = toy_space(Drop(), DropPair())
    outer = next(name for name in space.choices if space.children(name))
    p = {name: [0.9, 0.1] if name == outer else [0.1, 0.9] for name in space.choices}
    sensitivity = {name: {o: 0.0 if o in (KEEP, "drop-pair") else 1.0 for o in c.options}
                   for name, c in space.choices.items()}  # fmt: skip
    decision = decide_within(hardware_of(space, 3.0), p, sensitivity)
    assert decision.selection[outer] == KEEP
    assert list(decision.selection.values()).count("drop") == 1


def test_a_certain_choice_can_be_turned_and_a_goal_out_of_reach_is_an_error() -> None:
    space = toy_space(Drop())
    p = {name: [1.0, 0.0] for name in space.choices}
    decision = decide_within(hardware_of(space, 1.0), p, None)
    assert set(decision.selection.values()) == {"drop"}
    assert len(decision.turned) == 3
    assert math.isclose(sum(hardware_of(space, 1.0).costs(decision.selection).values()), 1.0)
    with pytest.raises(GraphoptError, match="no selection meets every goal"):
        decide_within(hardware_of(space, 0.5), p, None)
