"""A distribution over selections that is cooled: its shares, its turns, and its rounds."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from graphopt.search.tempering import Plan, Tempering, tempered


def entropy_of(shares: list[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)


@pytest.mark.parametrize(
    ("count", "wide", "budget", "each", "plan"),
    [
        # 8 + 4 + 2 judgements at half a step: 7 steps; 3 rounds of (100 - 7) // 3
        (8, 1, 100, 0.5, Plan(31, (8, 4, 2), 100)),
        (8, 2, 100, 0.5, Plan(30, (8, 8, 4), 100)),
        # judging 32 + 32 + 16 + 8 + 4 would take 92 of 100 steps: 16 + 16 + 8 + 4 take 44, so 4 rounds of 14
        (32, 2, 100, 1.0, Plan(14, (16, 16, 8, 4), 100)),
        (5, 1, 60, 1.0, Plan(16, (5, 3, 2), 58)),
        (1, 2, 100, 1.0, Plan(0, (), 0)),
        (8, 2, 1, 1.0, Plan(0, (), 0)),
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


def test_each_trains_as_often_as_its_share_says_until_one_is_left() -> None:
    names = [{"choice": str(number)} for number in range(8)]
    tempering = Tempering(Plan(40, (8, 8, 4), 140), 0, tempered, list(names))
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
