"""The entropy-regularised choice: who takes part, how often each trains, what cools, and who is left at the end."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from search_toys import TARGET, Drop, cost, hardware_of, killed_and_whole, search_of, toy_space

from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Selection
from graphopt.search.contenders import contenders
from graphopt.search.problem import Problem
from graphopt.search.tempering import Plan, Tempering, halved, tempered
from graphopt.search.wholes import Aim


def short(selection: Selection) -> tuple[str, ...]:
    return tuple(sorted(name.split("/")[0] for name, option in selection.items() if option == "drop"))


def entropy_of(shares: list[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)


@pytest.mark.parametrize(
    ("count", "wide", "budget", "each", "plan"),
    [
        # 8 + 4 + 2 judgements at half a step: 7 steps; 3 rounds of (100 - 7) // 3
        (8, 1, 100, 0.5, Plan((31, 62, 93), (8, 4, 2), 100)),
        (8, 2, 100, 0.5, Plan((30, 60, 90), (8, 8, 4), 100)),
        # judging 32 + 32 + 16 + 8 + 4 would take 92 of 100 steps: 16 + 16 + 8 + 4 take 44, so 4 rounds of 14
        (32, 2, 100, 1.0, Plan((14, 28, 42, 56), (16, 16, 8, 4), 100)),
        (5, 1, 60, 1.0, Plan((16, 32, 48), (5, 3, 2), 58)),
        (1, 2, 100, 1.0, Plan((), (), 0)),
        (8, 2, 1, 1.0, Plan((), (), 0)),
    ],
)
def test_the_rounds_are_equally_long_and_cost_what_the_budget_has(
    count: int, wide: int, budget: int, each: float, plan: Plan
) -> None:
    assert Plan.within(count, wide, budget, each) == plan


def test_shares_are_those_of_the_least_expected_loss_at_their_entropy() -> None:
    """Against a solver that knows nothing of Gibbs: min q.L with H(q) = h, sum q = 1."""
    losses, entropy = [0.3, 0.1, 0.8, 0.15], 0.9
    found = tempered(losses, entropy)
    solved = minimize(
        lambda q: q @ losses, [0.3, 0.3, 0.2, 0.2], bounds=[(1e-9, 1)] * 4, method="SLSQP", tol=1e-12,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "eq", "fun": lambda q: -(q * np.log(q)).sum() - entropy},
        ],
    )  # fmt: skip
    assert solved.success
    assert found == pytest.approx(list(solved.x), abs=1e-4)


@given(
    st.lists(st.floats(-40, 40), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_shares_have_the_entropy_that_is_asked_for(losses: list[float], share: float) -> None:
    entropy = share * math.log(len(losses))
    found = tempered(losses, entropy)
    assert sum(found) == pytest.approx(1.0)
    ordered = [q for _, q in sorted(zip(losses, found, strict=True), key=lambda pair: (pair[0], -pair[1]))]
    assert all(better >= worse - 1e-12 for better, worse in zip(ordered, ordered[1:], strict=False))
    ties = sum(loss <= min(losses) + 1e-6 for loss in losses)
    if entropy > math.log(ties) + 1e-6:
        assert entropy_of(found) == pytest.approx(entropy, abs=1e-3)


def test_ties_have_equal_shares_and_what_is_broken_has_none() -> None:
    assert tempered([2.0, 2.0], 0.1) == [0.5, 0.5]
    assert tempered([2.0, 1.0, 1.0], 0.0) == [0.0, 1.0, 0.0]
    assert tempered([math.nan, 1.0, math.inf, 1.5], math.log(4)) == [0.0, 0.5, 0.0, 0.5]
    assert tempered([math.nan, math.nan], 0.5) == [0.5, 0.5]
    assert tempered([3.0], 0.0) == [1.0]


def test_halving_gives_equal_shares_to_the_better_half() -> None:
    assert halved([0.4, 0.1, math.nan, 0.2], math.log(2)) == [0.0, 0.5, 0.0, 0.5]
    assert halved([0.4, 0.1, 0.3], 0.0) == [0.0, 1.0, 0.0]
    assert halved([0.4, 0.1], math.log(8)) == [0.5, 0.5]
    names = [{"choice": str(number)} for number in range(8)]
    tempering = Tempering.of(Plan((16, 32, 48), (8, 4, 2), 62), 0, halved, list(names))
    left = []
    for step in range(48):
        turn = tempering.turn(step)
        assert tempering.shares[tempering.selections.index(turn)] > 0
        tempering.judge(step, lambda selection: abs(int(selection["choice"]) - 5.2))
        left.append(sum(share > 0 for share in tempering.shares))
    assert (left[14], left[15], left[31], left[47]) == (8, 4, 2, 1)
    assert tempering.best == {"choice": "5"}


def test_each_trains_as_often_as_its_share_says_until_one_is_left() -> None:
    names = [{"choice": str(number)} for number in range(8)]
    tempering = Tempering.of(Plan((40, 80, 120), (8, 8, 4), 140), 0, tempered, list(names))
    seen: list[str] = []
    shares: list[dict[str, float]] = []
    for step in range(120):
        if step % 40 == 0:
            pairs = zip(tempering.selections, tempering.shares, strict=True)
            shares.append({one["choice"]: share for one, share in pairs})
        seen.append(tempering.turn(step)["choice"])
        tempering.judge(step, lambda selection: abs(int(selection["choice"]) - 5.2))
    assert [math.exp(entropy_of(list(row.values()))) for row in shares] == pytest.approx([8, 4, 2])
    assert [len(row) for row in shares] == [8, 8, 8]
    for number, row in enumerate(shares):
        turns = Counter(seen[40 * number : 40 * (number + 1)])
        assert all(abs(turns[name] - 40 * share) < 1 + 1e-9 for name, share in row.items())
    assert tempering.best == {"choice": "5"}
    assert sorted(tempering.shares) == [0.0, 0.0, 0.0, 1.0]


def test_contenders_are_different_and_meet_the_goals() -> None:
    """4 ms, 1 ms saved by each: two of three go. Dropping `second` loses most."""
    space = toy_space(Drop())
    aim = Aim(hardware_of(space, 2.0), None, {}, [])
    losses = {"first": 0.2, "second": 0.3, "third": 0.21}
    lost = {name: {KEEP: 0.0, "drop": losses[name.split("/")[0]]} for name in space.choices}
    found = contenders(aim, lost, 32, 0.5, seed=0)
    pairs = [short(selection) for selection in found]
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


def test_trial_overrules_the_sensitivities_where_trained_networks_say_otherwise(tmp_path: Path) -> None:
    """The sensitivities say that `second` loses least; the images say that it loses most."""
    space = toy_space(Drop())
    lost = {"first": 0.2, "second": 0.15, "third": 0.25}
    result = search_of(space, tmp_path, lost=lost, steps=40, record_every=1).run(lambda share, words: None)
    assert short(result.selection) == ("first", "third")
    assert result.rounding is None
    phases = [record.phase for record in result.history]
    assert list(dict.fromkeys(phases)) == ["choice", "chosen"]
    choice = [record for record in result.history if record.phase == "choice"]
    assert sum(choice[0].probabilities[next(iter(space.choices))]) == pytest.approx(1.0)
    assert choice[0].entropy > 0.5
    assert all(record.expected_ms[TARGET] == pytest.approx(2.0) for record in choice)  # each of them meets the goal
    assert all(record.temperature is None for record in result.history)
    assert choice[-1].entropy == 0.0
    (tmp_path / "alone").mkdir()
    alone = search_of(space, tmp_path / "alone", lost=lost, steps=40, contenders=1).run(lambda share, words: None)
    assert "second" in short(alone.selection)


def test_its_trials_are_part_of_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5 + 2 * 40 steps; three pairs meet the goals. A judgement is 2 batches, 2/3 of a step."""
    search = search_of(toy_space(Drop()), tmp_path, lost={"first": 0.2, "second": 0.3, "third": 0.25}, steps=40)
    judged = []
    psnr = Problem.psnr
    monkeypatch.setattr(Problem, "psnr", lambda *a, **k: judged.append(1) or psnr(*a, **k))
    search.run(lambda share, words: None)
    assert search.plan.judged[0] > 3
    assert len(judged) <= sum(search.plan.judged)
    assert search.steps + math.ceil(sum(search.plan.judged) * 2 / 3) == search.config.budget == 85


@pytest.mark.parametrize(("share", "step"), [(0.02, 1), (0.2, 21), (0.3, 41), (0.7, 101)])
def test_a_killed_search_goes_on(share: float, step: int, tmp_path: Path) -> None:
    space = toy_space(Drop())
    changes = {"lost": {"first": 0.2, "second": 0.3, "third": 0.25}}
    result, whole = killed_and_whole(space, tmp_path, share, step, **changes)
    assert result.selection == whole.selection
    assert result.probabilities == whole.probabilities
    assert [(r.step, r.phase) for r in result.history] == [(r.step, r.phase) for r in whole.history]
