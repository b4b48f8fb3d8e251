"""The search stage: its files, a front, kill and resume, goals out of reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_toys import TARGET, Drop, Same, ToyPricer, cost, given_of, settled_toy, silent, toy_space

from graphopt.config.search import SearchConfig
from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.space import Selection
from graphopt.ir.space_files import load_space
from graphopt.search.stage import SearchStage

SETTINGS: dict[str, Any] = {
    "latency": 0.5, "steps": 28, "patches": (2, 16), "learning_rate": 1e-5, "distillation": 0.0, "record_every": 4,
}  # fmt: skip


def stage_of(folder: Path, **changes: Any) -> SearchStage:
    return SearchStage(given_of(toy_space(Drop()), config=SearchConfig(**{**SETTINGS, **changes})), folder)


def with_wholes(stage: SearchStage, price: Callable[[Selection], dict[str, Cost]] | None) -> SearchStage:
    original = {TARGET: cost(4.0).to_dict()}
    given = replace(stage.given, whole_targets=(TARGET,), price_whole=price, original=original)
    return replace(stage, given=given)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_front_has_every_goal_by_every_method(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, pareto=[0.25, 0.5, 0.75], baselines=["milp", "greedy"])
    stage.run(silent)
    front = read(tmp_path / "front.json")
    assert [(row["method"], row["goal"]) for row in front] == [
        ("entropy", 0.5), ("entropy", 0.25), ("entropy", 0.75),
        *((method, goal) for method in ("milp", "greedy") for goal in (0.25, 0.5, 0.75)),
    ]  # fmt: skip
    for row in front:
        assert row["sum_of_parts_ms"][TARGET] <= 4 * row["goal"] + 1e-6
        assert row["missed"] == []
        assert np.isfinite(row["psnr"])
    main, other = read(tmp_path / "selection.json"), read(tmp_path / "selection.0.25.json")
    assert main["goals_ms"] == {TARGET: 2.0}
    assert other["goals_ms"] == {TARGET: 1.0}
    assert set(other["selection"].values()) == {"drop"}
    assert read(tmp_path / "selection.milp.0.5.json")["entropy"] == 0.0
    assert front[0]["psnr"] == main["psnr"]
    assert len(load_space(tmp_path / "space").choices) == 3


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        stage_of(tmp_path / name, pareto=[0.75]).run(silent)
    for name in ("selection.json", "selection.0.75.json", "front.json", "history.json", "sensitivity.json"):
        assert read(tmp_path / "one" / name) == read(tmp_path / "two" / name)


def test_a_killed_front_goes_on_with_the_network_it_was_at(tmp_path: Path) -> None:
    def stop(share: float, words: str) -> None:
        if words.startswith("entropy at 0.75") and "step 10/" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage_of(tmp_path, pareto=[0.75]).run(stop)
    assert not (tmp_path / "front.json").exists()
    words: list[str] = []
    stage_of(tmp_path, pareto=[0.75]).run(lambda share, said: words.append(said))
    assert not any("sensitivity of" in said for said in words)
    assert any(said.startswith("entropy at 0.5: goes on at step 2") for said in words)
    assert "entropy at 0.75: goes on at step 9" in words
    assert len(read(tmp_path / "front.json")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency": 0.2}, r"search\.latency 0\.2 .*misses them by 25\.0% .*give at least 0\.250"),
        ({"pareto": [0.125]}, r"search\.latency 0\.125 .*give at least 0\.250"),
        ({"objective": {"parameters": 0.5}}, r"no selection meets every goal .*parameters \+82\.0% against its goal"),
    ],
)
def test_a_goal_out_of_reach_says_what_can_be_reached(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(GraphoptError, match=message):
        stage_of(tmp_path, **changes).run(silent)
    assert not (tmp_path / "sensitivity.json").exists()


def test_a_memory_goal_is_met(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, objective={"memory": 0.99}, latency=1.0)
    with pytest.raises(GraphoptError, match=r"memory on phone \+"):  # everything is computed in place here
        stage.run(silent)
    stage_of(tmp_path, objective={"memory": 1.0}, latency=1.0).run(silent)
    assert read(tmp_path / "selection.json")["missed"] == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_search_runs_on_a_gpu_with_its_teacher(tmp_path: Path) -> None:
    stage_of(tmp_path, device="cuda", distillation=0.5).run(silent)
    assert read(tmp_path / "selection.json")["missed"] == []


def test_a_search_in_bfloat16_meets_its_goal(tmp_path: Path) -> None:
    stage_of(tmp_path, device="cpu", precision="bf16", distillation=0.5).run(silent)
    found = read(tmp_path / "selection.json")
    assert found["missed"] == []
    assert np.isfinite([found["psnr_soft"], found["psnr_rounded"], found["psnr"]]).all()


def test_where_parts_do_not_add_up_wholes_are_priced_and_kept(tmp_path: Path) -> None:
    """By the table, two of three scales must go for 2 ms; as wholes, all of them."""

    def whole(selection: Selection) -> dict[str, Cost]:
        return {TARGET: cost(4.0 - 0.7 * sum(option == "drop" for option in selection.values()))}

    with_wholes(stage_of(tmp_path, wholes=6), whole).run(silent)
    found = read(tmp_path / "selection.json")
    assert set(found["selection"].values()) == {"drop"}
    assert found["missed"] == []
    assert found["sum_of_parts_ms"][TARGET] == pytest.approx(1.9, abs=0.15)
    wholes = read(tmp_path / "wholes.json")
    assert 1 <= len(wholes) <= 7  # 6 before the search, and perhaps what it found
    assert all(Cost.from_dict(row["costs"][TARGET]) == whole(row["selection"])[TARGET] for row in wholes)


def test_a_goal_that_no_whole_meets_is_named_before_any_training(tmp_path: Path) -> None:
    def whole(selection: Selection) -> dict[str, Cost]:
        return {TARGET: cost(4.0 - 0.1 * sum(option == "drop" for option in selection.values()))}

    stage = with_wholes(stage_of(tmp_path, wholes=6), whole)
    with pytest.raises(GraphoptError, match=r"no selection meets every goal .*give at least 0\.89"):
        stage.run(silent)
    assert not (tmp_path / "front.json").exists()


def test_without_wholes_the_table_says_what_can_be_reached(tmp_path: Path) -> None:
    stage = with_wholes(stage_of(tmp_path, wholes=0, latency=0.2), None)
    with pytest.raises(GraphoptError, match=r"search\.latency 0\.2 .*give at least 0\.250"):
        stage.run(silent)
    assert not (tmp_path / "sensitivity.json").exists()


def test_exact_candidates_are_none_of_its_business(tmp_path: Path) -> None:
    """Priced by `build_table` and settled: the sums of the front are prices of networks that exist."""
    space, table = settled_toy({TARGET: ToyPricer({"Mul": 1.0, "first": 0.75})}, {TARGET: 1.0}, Drop(), Same())
    assert set(table.settled.values()) == {"same"}
    SearchStage(given_of(space, table, SearchConfig(**SETTINGS)), tmp_path).run(silent)
    (row,) = read(tmp_path / "front.json")
    selection = read(tmp_path / "selection.json")["selection"]
    left = sum(option == "keep" for option in selection.values())
    assert row["sum_of_parts_ms"] == {TARGET: pytest.approx(1.0 + 0.75 * left)}
    assert left == 1
    assert any("@same" in node.name for node in load_space(tmp_path / "space").graph.nodes)


def test_where_all_candidates_are_exact_nothing_is_left_to_choose(tmp_path: Path) -> None:
    space, table = settled_toy({TARGET: ToyPricer({"Mul": 1.0, "first": 0.75})}, {TARGET: 1.0}, Same())
    config = SearchConfig(**{**SETTINGS, "latency": 1.0, "baselines": ["entropy-sites", "milp"], "warm_up_steps": 2})
    SearchStage(given_of(space, table, config), tmp_path).run(silent)
    front = read(tmp_path / "front.json")
    assert [row["sum_of_parts_ms"][TARGET] for row in front] == pytest.approx([1.0 + 3 * 0.75] * 3)
