"""ERN-Net's search: formulas against figures worked out by hand, and a toy space whose right answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from search_toys import TARGET, Drop, DropPair, cost, hardware_of, search_of, toy_space

from graphopt.config.search import SearchConfig
from graphopt.cost.table import CostTable, Delta
from graphopt.ir.space import KEEP
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.method import normalised_entropy
from graphopt.search.sites import decide, entropy_weight, penalty, temperature


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


def test_parameters_are_a_term_of_their_own() -> None:
    space = toy_space(Drop(), DropPair())
    hardware = hardware_of(space, 4.0, parameters=92.0)
    kept = dict.fromkeys(space.choices, KEEP)
    assert hardware.missed(kept) == {"parameters": pytest.approx(100 / 92 - 1)}
    p = {name: torch.tensor([0.5, 0.5]) for name in space.choices}
    # 100 - 3 (outer) / 2 - 3 (free) / 2 - two inner ones at 3 / 4
    expected = (100 - 1.5 - 1.5 - 1.5) / 92 - 1
    found = penalty(hardware, {TARGET: 1.0}, SearchConfig(method="entropy-sites"), p)
    assert float(found) == pytest.approx(40 * expected, rel=1e-4)


@pytest.mark.parametrize(("mode", "expected"), [("mix", 0.25 * 0.5 + 0.75 * 0.1), ("worst", 0.5)])
def test_several_targets_are_mixed_or_the_worst_counts(mode: str, expected: float) -> None:
    space = toy_space(Drop())
    deltas = {n: {o: {t: Delta(0.0, 0, 0) for t in "abc"} for o in c.options} for n, c in space.choices.items()}
    table = CostTable({t: cost(3.0) for t in "abc"}, deltas)
    config = SearchConfig(method="entropy-sites", objective={"targets": mode}, latency_weight=1.0)
    goals = Goals({"a": 2.0, "b": 3 / 1.1, "c": 5.0})
    hardware = Hardware(space, table, None, goals)
    p = {name: torch.tensor([0.5, 0.5]) for name in space.choices}
    found = penalty(hardware, {"a": 0.25, "b": 0.75, "c": 0.0}, config, p)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert hardware.missed(dict.fromkeys(space.choices, KEEP)).keys() == {"latency on a", "latency on b"}


def test_sensitivity_alone_decides_where_the_network_says_nothing(tmp_path: Path) -> None:
    """The first and the third scale are 1: dropping either changes nothing, and the goal needs one of them."""
    space = toy_space(Drop())
    search = search_of(space, tmp_path, goal=3.0, lost={"third": 1.0}, method="entropy-sites")
    found = decide(space, search.run(lambda share, words: None).probabilities)
    assert {name.split("/")[0]: option for name, option in found.items()} == {
        "first": "drop", "second": "keep", "third": "keep",
    }  # fmt: skip


def test_finds_the_right_answer_of_a_toy_space(tmp_path: Path) -> None:
    space = toy_space(Drop())
    result = search_of(space, tmp_path, method="entropy-sites").run(lambda share, words: None)
    selection = {name.split("/")[0]: option for name, option in decide(space, result.probabilities).items()}
    assert selection == {"first": "drop", "second": "keep", "third": "drop"}
    assert all(max(p) > 0.9 for p in result.probabilities.values())
    assert result.history[-1].entropy < 0.3 < result.history[0].entropy
    assert result.history[0].phase == "warm-up"
