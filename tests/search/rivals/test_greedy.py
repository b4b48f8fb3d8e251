"""Turning choices until the goals are met."""

from __future__ import annotations

import pytest
from search_toys import TARGET, Drop, cost, hardware_of, losses_of, table_of, toy_space

from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable, Delta
from graphopt.ir.space import KEEP
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.rivals.greedy import meet_goals


def test_goal_is_met_by_what_loses_least() -> None:
    space = toy_space(Drop())
    losses = losses_of(space, {"first": 0.8, "second": 0.98, "third": 0.2})
    kept = dict.fromkeys(space.choices, KEEP)
    met, turned = meet_goals(hardware_of(space, 2.0), kept, losses)
    assert [name.split("/")[0] for name in turned] == ["third", "first"]
    assert table_of(space).expected_ms(space, met, TARGET) == 2.0
    nothing_left, _ = meet_goals(hardware_of(space, 0.1), kept, losses)
    assert set(nothing_left.values()) == {"drop"}


def test_turning_ends_where_targets_want_the_opposite() -> None:
    """Dropping saves on the one and costs on the other: turned to and fro, neither would ever be met."""
    space = toy_space(Drop())
    price = {"keep": (0.0, 0.0), "drop": (-1.0, 0.9)}
    deltas = {
        name: {o: {t: Delta(ms, 0, 0) for t, ms in zip("ab", price[o], strict=True)} for o in choice.options}
        for name, choice in space.choices.items()
    }
    table = CostTable({t: cost(4.0) for t in "ab"}, deltas)
    hardware = Hardware(space, table, None, Goals({"a": 2.5, "b": 4.0}))
    losses = losses_of(space, dict.fromkeys(("first", "second", "third"), 1.0))
    met, turned = meet_goals(hardware, dict.fromkeys(space.choices, KEEP), losses)
    assert hardware.missed(met)
    assert len(turned) <= 3


def test_a_memory_goal_turns_every_site_at_the_peak_and_no_other() -> None:
    space = toy_space(Drop())
    held = {name: {KEEP: 2000 if name.startswith("third") else 5000, "drop": 2000} for name in space.choices}
    hardware = hardware_of(space, 4.0, live=LiveBytes(0, held), memory_bytes={TARGET: 600.0})  # of 1000
    kept = dict.fromkeys(space.choices, KEEP)
    assert hardware.missed(kept) == {f"memory on {TARGET}": pytest.approx(1000 / 600 - 1)}
    losses = losses_of(space, dict.fromkeys(("first", "second", "third"), 1.0))
    met, turned = meet_goals(hardware, kept, losses)
    assert sorted(name.split("/")[0] for name in turned) == ["first", "second"]
    assert not hardware.missed(met)
