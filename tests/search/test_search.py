"""Every method on the toy space, by one budget and by the options that it reads; killed and going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from search_toys import (
    TARGET,
    Drop,
    config_of,
    cost,
    given_of,
    hardware_of,
    killed_and_whole,
    problem_of,
    search_of,
    short,
    silent,
    toy_space,
)  # fmt: skip

from graphopt.config.methods import METHODS, readers
from graphopt.config.search import ObjectiveConfig, SearchConfig
from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.space import Selection
from graphopt.search.method import method_of
from graphopt.search.problem import Problem
from graphopt.search.stage import SearchStage
from graphopt.search.wholes import Aim
from graphopt.train.trainer import Trainer

RIGHT = {"first": "drop", "second": "keep", "third": "drop"}
LOST = {"first": 0.1, "second": 10.0, "third": 0.2}


def few(method: str) -> dict[str, int]:
    return {"evaluations": 12} if "evaluations" in METHODS[method].options else {}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_right_answer_of_a_toy_space(method: str, tmp_path: Path) -> None:
    search = search_of(toy_space(Drop()), tmp_path, lost=LOST, method=method, steps=245)
    result = search.run(silent)
    assert short(result.selection) == RIGHT
    assert result.history[-1].phase == "chosen"
    assert (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_work_for_the_same_budget(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates of the weights and of choices, and batches forward at a third, come to `steps`."""
    updates, forwards = [], []
    update, psnr, loss = Trainer.update, Problem.psnr, Problem.loss
    monkeypatch.setattr(Trainer, "update", lambda *a, **k: updates.append(1) or update(*a, **k))
    monkeypatch.setattr(Problem, "loss", lambda *a, **k: forwards.append(1) or loss(*a, **k))
    judged: list[int] = []
    batches = {"entropy": 2, "halving": 2}.get(method, 1)
    monkeypatch.setattr(Problem, "psnr", lambda *a, **k: judged.append(batches) or psnr(*a, **k))
    search = search_of(toy_space(Drop()), tmp_path, lost=LOST, method=method, steps=65, **few(method))
    search.run(silent)
    of_choices = len(forwards) - len(updates)
    rounding = 2 if "settle" in METHODS[method].options else 0  # the soft network and the chosen one, once
    spent = len(updates) + of_choices + (sum(judged) - rounding) / 3
    # fewer contenders than planned may be found, and a round's length is a whole number
    assert spent <= 65 + 1e-9
    assert spent >= (65 - 15 if batches == 2 else 65)


@pytest.mark.parametrize(
    ("method", "at"),
    [*((method, 34) for method in METHODS), *((m, at) for m in ("entropy", "entropy-sites") for at in (9, 23, 50))],
)
def test_a_killed_search_ends_as_one_that_never_was(method: str, at: int, tmp_path: Path) -> None:
    """To the bit: selection, probabilities, history, and weights that have moved."""
    changes = {
        "lost": LOST, "method": method, "steps": 65, "record_every": 4, "learning_rate": 1e-2,
        **few(method),
    }  # fmt: skip
    if "settle" in METHODS[method].options:
        changes["settle"] = 0.2
        at = min(at, 40)
    killed, whole, gone_on = killed_and_whole(toy_space(Drop()), tmp_path, at, **changes)
    assert 0 < gone_on <= at
    assert killed.result == whole.result
    weights = [search.problem.supernet.state_dict() for search in (killed, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    started = given_of(toy_space(Drop())).supernet().state_dict()
    assert any((weights[0][name] - started[name]).abs().max() > 1e-4 for name in started if "alphas" not in name)


def test_a_search_that_goes_on_knows_the_wholes_that_it_has_priced(tmp_path: Path) -> None:
    def price(selection: Selection) -> dict[str, Cost]:
        return {TARGET: cost(3.0 - sum(option == "drop" for option in selection.values()))}

    space = toy_space(Drop())
    aims = [Aim(hardware_of(space, 2.0), price, {TARGET: cost(4.0)}, []) for _ in range(2)]
    searches = []
    for aim in aims:
        problem = replace(problem_of(space, tmp_path, steps=20), aim=aim)
        searches.append(method_of("entropy", problem))
        if aim is aims[0]:
            aim.look({name: "drop" for name in space.choices})
        searches[-1].run(silent)
    assert {"drop"} in [set(whole.selection.values()) for whole in aims[0].seen]
    assert aims[1].seen == aims[0].seen
    assert aims[1].hardware.latency[TARGET].values == aims[0].hardware.latency[TARGET].values


@pytest.mark.parametrize("method", ["entropy", "entropy-sites"])
def test_nan_stops_the_search_and_says_what_to_lower(method: str, tmp_path: Path) -> None:
    search = search_of(toy_space(Drop()), tmp_path, lost=LOST, method=method)
    with torch.no_grad():
        for weight in search.problem.supernet.weight_parameters():
            weight.fill_(float("nan"))
    with pytest.raises(GraphoptError, match=r"search: the loss became nan .*at step 0.*lower search\.learning_rate"):
        search.run(silent)


def options_of(method: str) -> dict[str, Any]:
    """Every option that the configuration accepts for a method alone, at some value; nested ones dotted."""
    names = {*SearchConfig.model_fields} - {"objective"} | {f"objective.{n}" for n in ObjectiveConfig.model_fields}
    return {name for name in names if method in readers(name)}


@pytest.mark.parametrize("method", METHODS)
def test_every_option_that_is_accepted_is_read(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goals = {"objective": {"memory": 1.0, "parameters": 1.0}, "latency": 0.5, "steps": 20, "record_every": 10}
    given = given_of(toy_space(Drop()), config=config_of(method, **goals, **few(method)))
    assert given.config.method == method
    seen: set[str] = set()

    def recording(kind: type, prefix: str) -> None:
        plain = kind.__getattribute__

        def get(self: Any, name: str) -> Any:
            seen.add(prefix + name)
            return plain(self, name)

        monkeypatch.setattr(kind, "__getattribute__", get)

    recording(SearchConfig, "")
    recording(ObjectiveConfig, "objective.")
    SearchStage(given, tmp_path).run(silent)
    # read before: where the fabric starts, and where targets' parts do not add up
    unread = options_of(method) - seen - {"device", "wholes"}
    assert not unread
    assert not (seen & {name for entry in METHODS.values() for name in entry.options}) - options_of(method)
    assert json.loads((tmp_path / "front.json").read_text())[0]["method"] == method
