"""The contest: who takes part, whose turn it is, and who is left at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_toys import TARGET, Drop, cost, hardware_of, search_of, toy_space

from graphopt.cost.record import Cost
from graphopt.ir.space import KEEP, Selection
from graphopt.search.contest import Contest, Plan, contenders
from graphopt.search.wholes import Aim


def short(selection: Selection) -> tuple[str, ...]:
    return tuple(sorted(name.split("/")[0] for name, option in selection.items() if option == "drop"))


@pytest.mark.parametrize(
    ("count", "budget", "each", "plan"),
    [
        # 8 + 4 + 2 judgements at half a step: 7 steps; 3 rounds of (100 - 7) // 3
        (8, 100, 0.5, Plan(8, (31, 62, 93), 100)),
        # judging all of 32 would take 62 of 100 steps: 16 take 30, so 4 rounds of 17
        (32, 100, 1.0, Plan(16, (17, 34, 51, 68), 98)),
        (5, 60, 1.0, Plan(5, (16, 32, 48), 58)),  # 5, 3, 2
        (1, 100, 1.0, Plan(1, (), 0)),
        (8, 1, 1.0, Plan(1, (), 0)),
    ],
)
def test_the_rounds_are_equally_long_and_cost_what_the_budget_has(
    count: int, budget: int, each: float, plan: Plan
) -> None:
    assert Plan.within(count, budget, each) == plan


def test_the_worse_half_leaves_after_each_round_and_everyone_has_a_turn() -> None:
    names = [{"choice": str(number)} for number in range(5)]
    contest = Contest(Plan(5, (10, 20, 30), 40), 0, list(names))
    seen: list[str] = []
    left = []
    for step in range(30):
        seen.append(contest.turn(step)["choice"])
        contest.judge(step, lambda selection: abs(int(selection["choice"]) - 3.2))
        left.append(len(contest.alive))
    assert sorted(seen[:5]) == sorted(seen[5:10]) == ["0", "1", "2", "3", "4"]
    assert set(seen[10:20]) == {"2", "3", "4"}
    assert set(seen[20:]) == {"3", "4"}
    assert (left[8], left[9], left[19], left[29]) == (5, 3, 2, 1)
    assert contest.alive == [{"choice": "3"}]


def test_contenders_are_different_meet_the_goals_and_are_drawn_by_likelihood() -> None:
    """4 ms, 1 ms saved by each: two of three go. `second` is least likely to."""
    space = toy_space(Drop())
    aim = Aim(hardware_of(space, 2.0), None, {}, [])
    chance = {"first": 0.3, "second": 0.05, "third": 0.4}
    p = {name: [1 - chance[name.split("/")[0]], chance[name.split("/")[0]]] for name in space.choices}
    first = {name: KEEP if name.startswith("second") else "drop" for name in space.choices}
    lost = {name: {KEEP: 0.0, "drop": 0.2} for name in space.choices}
    found = contenders(aim, p, lost, first, 32, seed=0)
    assert found[0] == first
    pairs = [short(selection) for selection in found]
    assert len(set(pairs)) == len(pairs) >= 2
    assert all(len(pair) == 2 for pair in pairs)
    assert contenders(aim, p, lost, first, 32, seed=0) == found
    assert contenders(aim, p, lost, first, 1, seed=0) == [first]


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
    even = {name: [0.5, 0.5] for name in space.choices}
    everything = dict.fromkeys(space.choices, "drop")
    found = contenders(aim, even, lost, everything, 4, seed=0)
    assert found[:3] == [everything, pairs[0], pairs[1]]
    assert pairs[2] not in found


def test_the_contest_overrules_likelihood_where_trained_networks_say_otherwise(tmp_path: Path) -> None:
    """The sensitivities say that `second` costs nothing; the images say that it costs most."""
    space = toy_space(Drop())
    lost = {"first": 0.2, "second": 0.15, "third": 0.25}
    changes = {"lost": lost, "sensitivity": 20.0, "steps": 40, "choice_learning_rate": 1e-6, "record_every": 1}
    with_contest = search_of(space, tmp_path, **changes, contenders=32).run(lambda share, words: None)
    assert short(with_contest.selection) == ("first", "third")
    (tmp_path / "without").mkdir()
    without = search_of(space, tmp_path / "without", **changes).run(lambda share, words: None)
    assert "second" in short(without.selection)
    phases = [record.phase for record in with_contest.history]
    assert phases.index("contest") < phases.index("chosen")
    last = [record for record in with_contest.history if record.phase == "contest"][-1]
    assert sum(last.probabilities[next(iter(space.choices))]) == pytest.approx(1.0)
    (tmp_path / "alone").mkdir()
    alone = search_of(space, tmp_path / "alone", lost=lost, steps=40, record_every=1, method="contest").run(
        lambda share, words: None
    )
    assert short(alone.selection) == ("first", "third")
    assert alone.history[0].phase == "contest"
    assert alone.rounding is None
