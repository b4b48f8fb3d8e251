"""The search: formulas against figures worked out by hand, and a toy space whose right answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from search_toys import (
    TARGET,
    Drop,
    DropPair,
    hardware_of,
    killed_and_whole,
    search_of,
    table_of,
    toy_space,
)

from graphopt import GraphoptError
from graphopt.nn.supernet import Supernet
from graphopt.search.additive import Additive, latency_of
from graphopt.search.objective import entropy_weight, normalised_entropy, temperature
from graphopt.search.selection import decide, meet_goal
from graphopt.search.sensitivity import MOST, measure
from graphopt.train.data import PatchSampler
from graphopt.train.processes import start_fabric


def test_expected_latency_of_disjoint_and_nested_choices() -> None:
    space = toy_space(Drop(), DropPair())
    outer = next(name for name, choice in space.choices.items() if "drop-pair" in choice.candidates)
    inner = space.children(outer)
    assert len(inner) == 2
    alone = next(name for name in space.choices if name not in (outer, *inner))
    p = {name: torch.tensor([0.25, 0.75]) for name in space.choices}
    found = latency_of(space, table_of(space), TARGET)(p)
    # base, the outer and the free choice in full, and two inner ones where the outer site is kept (1 in 4)
    assert found.item() == pytest.approx(4 - 0.75 - 0.75 - 2 * 0.25 * 0.75, abs=1e-6)
    assert table_of(space).expected_ms(space, {outer: "drop-pair", inner[0]: "drop", alone: "keep"}, TARGET) == 3.0


def test_normalised_entropy_and_schedules() -> None:
    p = {"two": torch.tensor([0.5, 0.5]), "three": torch.tensor([1.0, 0.0, 0.0])}
    assert normalised_entropy(p).item() == pytest.approx(0.5, abs=1e-6)
    quarter = {"a": torch.tensor([0.25, 0.75])}
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert normalised_entropy(quarter).item() == pytest.approx(expected, abs=1e-6)
    weights = [entropy_weight(t / 100, 0.2) for t in range(101)]
    assert weights[0] == pytest.approx(-0.2)
    assert weights[-1] == pytest.approx(0.2)
    assert sum(a < 0 <= b for a, b in zip(weights, weights[1:], strict=False)) == 1
    assert temperature(0.5, 1.0, 0.25) == pytest.approx(0.5)


def test_goal_is_met_by_the_least_improbable_choices() -> None:
    space = toy_space(Drop())
    probabilities = {"first": [0.9, 0.1], "second": [0.99, 0.01], "third": [0.6, 0.4]}
    by_choice = {name: probabilities[name.split("/")[0]] for name in space.choices}
    decided = decide(space, by_choice)
    assert set(decided.values()) == {"keep"}
    met, turned = meet_goal(space, hardware_of(space, 2.0), decided, by_choice)
    assert [name.split("/")[0] for name in turned] == ["third", "first"]
    assert table_of(space).expected_ms(space, met, TARGET) == 2.0
    nothing_left, _ = meet_goal(space, hardware_of(space, 0.1), decided, by_choice)
    assert set(nothing_left.values()) == {"drop"}


def test_sensitivity_is_the_quality_that_a_candidate_alone_loses() -> None:
    """Where s = 0.5 goes, the output doubles: from the noise's error to that of x + noise."""
    space = toy_space(Drop())
    images = [np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)]
    lost = measure(
        space, Supernet(space), PatchSampler(images, 5.0, np.random.default_rng(1)), (2, 16),
        start_fabric("cpu", "fp32"), lambda share, words: None,
    )  # fmt: skip
    noisy, clean = PatchSampler(images, 5.0, np.random.default_rng(1)).batch(2, 16)
    expected = 10 * math.log10(((2 * noisy - clean) ** 2).mean() / ((noisy - clean) ** 2).mean())
    by_name = {name.split("/")[0]: losses for name, losses in lost.items()}
    assert by_name["second"]["drop"] == pytest.approx(min(expected, MOST), rel=1e-4)
    assert by_name["first"] == {"keep": 0.0, "drop": pytest.approx(0.0, abs=1e-6)}


def test_sensitivity_alone_decides_where_the_network_says_nothing(tmp_path: Path) -> None:
    """The first and the third scale are 1: dropping either changes nothing, and the goal needs one of them."""
    space = toy_space(Drop())
    search = search_of(space, tmp_path, goal=3.0, lost={"third": 1.0}, method="entropy-sites")
    found = decide(space, search.run(lambda share, words: None).probabilities)
    assert {name.split("/")[0]: option for name, option in found.items()} == {
        "first": "drop", "second": "keep", "third": "keep",
    }  # fmt: skip


def test_expectation_counts_an_inner_choice_where_the_outer_is_kept() -> None:
    space = toy_space(Drop(), DropPair())
    p = {name: torch.tensor([0.25, 0.75]) for name in space.choices}
    values = dict.fromkeys(space.choices, [0.0, 2.0])
    assert Additive(space, 0.0, values)(p).item() == pytest.approx(1.5 + 1.5 + 2 * 0.25 * 1.5, abs=1e-6)


def test_finds_the_right_answer_of_a_toy_space(tmp_path: Path) -> None:
    space = toy_space(Drop())
    result = search_of(space, tmp_path, method="entropy-sites").run(lambda share, words: None)
    selection = {name.split("/")[0]: option for name, option in decide(space, result.probabilities).items()}
    assert selection == {"first": "drop", "second": "keep", "third": "drop"}
    assert all(max(p) > 0.9 for p in result.probabilities.values())
    assert result.history[-1].entropy < 0.3 < result.history[0].entropy
    assert result.history[0].phase == "warm-up"


@pytest.mark.parametrize(("share", "step"), [(0.2, 21), (0.45, 45), (0.7, 81), (0.97, 121)])
def test_a_killed_search_goes_on(share: float, step: int, tmp_path: Path) -> None:
    """5 steps of warm-up, 40 of search, then 80: the same end."""
    space = toy_space(Drop())
    changes = {
        "lost": {"first": 0.2, "second": 0.3, "third": 0.25}, "choice_learning_rate": 1e-6, "method": "entropy-sites",
    }  # fmt: skip
    result, whole = killed_and_whole(space, tmp_path, share, step, **changes)
    assert [(record.step, record.phase) for record in result.history] == [
        (0, "warm-up"), (4, "warm-up"), (20, "search"), (40, "search"), (44, "search"),
        (60, "chosen"), (80, "chosen"), (100, "chosen"), (120, "chosen"), (124, "chosen"),
    ]  # fmt: skip
    assert result.selection == whole.selection
    assert result.rounding is not None
    assert whole.rounding is not None
    # patches after the kill are others than those before it
    assert result.rounding.soft == pytest.approx(whole.rounding.soft, abs=1e-3)
    assert result.rounding.chosen == pytest.approx(whole.rounding.chosen, abs=1e-3)


@pytest.mark.parametrize("method", ["entropy", "entropy-sites"])
def test_nan_stops_the_search_and_says_what_to_lower(method: str, tmp_path: Path) -> None:
    lost = dict.fromkeys(("first", "second", "third"), 0.1)
    search = search_of(toy_space(Drop()), tmp_path, lost=lost, method=method)
    with torch.no_grad():
        for weight in search.problem.supernet.weight_parameters():
            weight.fill_(float("nan"))
    with pytest.raises(GraphoptError, match=r"search: the loss became nan at step 0.*lower search\.learning_rate"):
        search.run(lambda share, words: None)
