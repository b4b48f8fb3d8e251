"""The integer programme against trying everything."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from search_toys import Drop, DropPair, hardware_of, table_of, toy_space

from graphopt.cost.live import LiveBytes
from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP
from graphopt.search import programme
from graphopt.search.programme import reachable, solve


def by_trying(hardware, losses) -> float:
    """The least loss of all selections that meet the goals; choices inside a replaced site lose nothing."""
    space, best = hardware.space, float("inf")
    for options in itertools.product(*(choice.options for choice in space.choices.values())):
        selection = dict(zip(space.choices, options, strict=True))
        if not hardware.missed(selection):
            best = min(best, loss_of(space, selection, losses))
    return best


def loss_of(space, selection, losses) -> float:
    return sum(
        losses[name][option]
        for name, option in selection.items()
        if not any(selection[outer] != KEEP for outer in space.ancestors(name))
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_integer_programme_is_as_good_as_trying_everything(seed: int) -> None:
    random = np.random.default_rng(seed)
    space = toy_space(Drop(), DropPair())
    losses = {
        name: {o: 0.0 if o == KEEP else float(random.uniform(0, 2)) for o in choice.options}
        for name, choice in space.choices.items()
    }
    table = table_of(space, saving=float(random.uniform(0.5, 1.5)))
    goals = [{}, {"parameters": 95.0}, {"memory_bytes": {"phone": 800.0}}][seed % 3]
    held = {
        name: {o: int(random.integers(3000, 6000)) if o == KEEP else 2000 for o in choice.options}
        for name, choice in space.choices.items()
    }
    hardware = hardware_of(space, float(random.uniform(2.5, 3.9)), table, live=LiveBytes(1000, held), **goals)
    if "memory_bytes" in goals:
        assert hardware.missed({**dict.fromkeys(space.choices, KEEP), "third": "drop"})
    best = by_trying(hardware, losses)
    assert np.isfinite(best) == (seed != 5)
    if seed == 5:
        assert reachable(hardware)[1] > 0
    else:
        selection = solve(hardware, losses)
        assert not hardware.missed(selection)
        assert loss_of(space, selection, losses) == pytest.approx(best, rel=1e-3)


def test_the_cheapest_reachable_is_found() -> None:
    space = toy_space(Drop())
    selection, slack = reachable(hardware_of(space, 0.5))
    assert set(selection.values()) == {"drop"}
    assert slack == pytest.approx(1 / 0.5 - 1)  # 1 ms is left
    assert reachable(hardware_of(space, 1.0))[1] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(GraphoptError, match="no selection meets every goal"):
        solve(hardware_of(space, 0.5), {n: dict.fromkeys(c.options, 0.0) for n, c in space.choices.items()})


def test_what_the_solver_says_does_not_reach_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    c = ctypes.CDLL(None)
    with programme._unheard():
        c.printf(b"HighsMipSolverData\n")
    print("{}")
    c.fflush(None)
    assert capfd.readouterr().out == "{}\n"
