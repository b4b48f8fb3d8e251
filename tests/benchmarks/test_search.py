"""The benchmarks of the search count what they say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


def load(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_held_bytes_are_those_of_activations_and_gradients() -> None:
    weight = torch.nn.Parameter(torch.ones(1000))
    x = torch.ones(1000)

    def step() -> None:
        weight.grad = None
        first = weight * x
        second = first.exp()  # kept for its own backward
        second.sum().backward()

    # weight * x, exp of it, the gradient through exp and that of the weight (1000 each); the sum and its gradient
    assert load("supernet").held_bytes(step) == 4 * (4 * 1000 + 2)


def test_the_ratio_is_that_of_neighbouring_runs() -> None:
    module = load("supernet")
    assert module.ratio({"a": [2.0, 6.0, 40.0], "b": [1.0, 2.0, 30.0]}, "a", "b") == 2.0
    calls: list[str] = []
    times = module.seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "a", "b", "a", "b"]  # warm-up, then in turns
    assert [len(found) for found in times.values()] == [2, 2]


def test_the_search_compares_every_method_by_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("search")
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "measure", lambda *given: asked.append(given) or {"mean": {}})
    monkeypatch.setattr("sys.argv", ["search.py", "--json"])
    module.main()
    ((methods, seeds, settings, finetuning, _),) = asked
    assert methods == [
        "entropy", "entropy-sites", "halving", "darts", "gumbel", "proxyless", "milp", "greedy", "evolution", "random",
    ]  # fmt: skip
    assert (seeds, finetuning) == (3, 0)
    assert (settings["latency"], settings["steps"], settings["warm_up_steps"]) == (0.55, 170, 10)
    assert json.loads(capsys.readouterr().out) == {"mean": {}}


def test_the_photographs_of_the_search_are_noisy_middles() -> None:
    module = load("search")
    assert module.rounded({"a": [1.23456, 2], "b": "x"}) == {"a": [1.2346, 2], "b": "x"}
    noisy, clean = module.crops(module.IMAGES / "test")[0]
    assert noisy.shape == clean.shape == (3, 256, 256)
    assert (noisy - clean).std() == pytest.approx(25 / 255, rel=0.01)
