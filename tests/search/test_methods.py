"""Every method on the toy space, by one budget; the integer programme against trying everything."""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from search_toys import Drop, DropPair, cost, hardware_of, problem_of, search_of, table_of, toy_space

from graphopt.config.search import METHODS, ONLY_OF, SearchConfig
from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable, Delta
from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP
from graphopt.nn.supernet import Supernet
from graphopt.search import milp, sites
from graphopt.search.disjoint import disjoint
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.methods import CHOOSERS, RULES
from graphopt.search.milp import reachable
from graphopt.search.problem import WeightTraining
from graphopt.search.sampling import routing
from graphopt.search.selection import meet_goal
from graphopt.train.data import PatchSampler, Photograph

RIGHT = {"first": "drop", "second": "keep", "third": "drop"}
LOST = {"first": 0.1, "second": 10.0, "third": 0.2}


def short(selection: dict[str, str]) -> dict[str, str]:
    return {name.split("/")[0]: option for name, option in selection.items()}


def silent(share: float, words: str) -> None:
    pass


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_right_answer_of_a_toy_space(method: str, tmp_path: Path) -> None:
    space = toy_space(Drop())
    result = search_of(space, tmp_path, lost=LOST, method=method, steps=120).run(silent)
    assert short(result.selection) == RIGHT
    assert result.history[-1].phase == "chosen"
    assert (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("forward", ["gumbel", "path", "straight-through"])
def test_the_way_the_supernet_runs_is_an_option_of_every_differentiable_method(forward: str, tmp_path: Path) -> None:
    space = toy_space(Drop())
    search = search_of(space, tmp_path, lost=LOST, forward=forward, steps=20, method="entropy-sites")
    first = search.run(silent).probabilities
    again = search_of(space, tmp_path / "again", lost=LOST, forward=forward, steps=20, method="entropy-sites")
    (tmp_path / "again").mkdir()
    assert again.run(silent).probabilities == first
    assert any(p[0] != 0.5 for p in first.values())


def test_the_configuration_knows_which_methods_read_an_option() -> None:
    assert set(ONLY_OF["settle"]) == set(sites.METHODS)
    assert set(ONLY_OF["spread"]) == set(RULES)
    assert set(ONLY_OF["evaluations"]) <= set(CHOOSERS)


def evaluations(method: str) -> dict[str, int]:
    return {"evaluations": 12} if method in ("evolution", "random") else {}


@pytest.mark.parametrize("method", ["entropy-sites", "gumbel", "proxyless", "evolution", "random"])
def test_a_killed_baseline_goes_on(method: str, tmp_path: Path) -> None:
    space = toy_space(Drop())

    def stop(share: float, words: str) -> None:
        if share > 0.8:
            raise KeyboardInterrupt

    changes = {"steps": 30, "record_every": 5, "lost": LOST, "method": method, **evaluations(method)}
    with pytest.raises(KeyboardInterrupt):
        search_of(space, tmp_path, **changes).run(stop)
    words: list[str] = []
    result = search_of(space, tmp_path, **changes).run(lambda share, said: words.append(said))
    assert words[0].startswith("goes on at step")
    (tmp_path / "whole").mkdir()
    whole = search_of(space, tmp_path / "whole", **changes).run(silent)
    assert [record.step for record in result.history] == [record.step for record in whole.history]
    assert short(result.selection) == short(whole.selection)
    assert result.probabilities == whole.probabilities


@pytest.mark.parametrize(("method", "choosing"), [("milp", 0), ("greedy", 0), ("random", 9), ("evolution", 9)])
def test_all_methods_train_for_the_same_budget(
    method: str, choosing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """warm-up + 2 * steps batches forward and backward; 12 evaluations count as 4 of them, after 5 of warm-up."""
    updates = []
    update = WeightTraining.update
    monkeypatch.setattr(WeightTraining, "update", lambda *a, **k: updates.append(1) or update(*a, **k))
    search = search_of(toy_space(Drop()), tmp_path, lost=LOST, method=method, steps=15, **evaluations(method))
    search.run(silent)
    evaluated = 4 if choosing else 0
    assert len(updates) + evaluated == search.config.budget == 35


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
        selection = milp.solve(hardware, losses)
        assert not hardware.missed(selection)
        assert loss_of(space, selection, losses) == pytest.approx(best, rel=1e-3)


def test_the_cheapest_reachable_is_found() -> None:
    space = toy_space(Drop())
    selection, slack = reachable(hardware_of(space, 0.5))
    assert set(selection.values()) == {"drop"}
    assert slack == pytest.approx(1 / 0.5 - 1)  # 1 ms is left
    assert reachable(hardware_of(space, 1.0))[1] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(GraphoptError, match="no selection meets every goal"):
        milp.solve(hardware_of(space, 0.5), {n: dict.fromkeys(c.options, 0.0) for n, c in space.choices.items()})


def test_turning_ends_where_targets_want_the_opposite() -> None:
    """Dropping saves on the one and costs on the other: turned to and fro, neither would ever be met."""
    space = toy_space(Drop())
    price = {"keep": (0.0, 0.0), "drop": (-1.0, 0.9)}
    deltas = {
        name: {o: {t: Delta(ms, 0, 0) for t, ms in zip("ab", price[o], strict=True)} for o in choice.options}
        for name, choice in space.choices.items()
    }
    table = CostTable({t: cost(4.0) for t in "ab"}, deltas)
    hardware = Hardware(space, table, None, Goals({"a": 2.5, "b": 4.0}), {"a": 0.5, "b": 0.5}, SearchConfig())
    scores = {name: [1.0, 0.0] for name in space.choices}
    met, turned = meet_goal(space, hardware, dict.fromkeys(space.choices, KEEP), scores)
    assert hardware.missed(met)
    assert len(turned) <= 3


def test_two_sampled_options_run_and_have_gradients() -> None:
    space = toy_space(Drop(), DropPair())
    supernet = Supernet(space)
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 16, 16)
    routed = routing("path", supernet, 1.0, random, for_choices=True)
    assert all(len(drawn) == 2 for drawn in routed["sampled"].values())
    result = supernet(image, **routed)
    chosen = {name: supernet.options(name)[drawn[0]] for name, drawn in routed["sampled"].items()}
    torch.testing.assert_close(result, supernet(image, selection=chosen))
    result.square().sum().backward()
    slopes = [supernet.logits(name).grad for name in space.choices]
    assert max(float(slope.abs().max()) for slope in slopes) > 0.1
    assert all(float(slope.sum()) == pytest.approx(0.0, abs=1e-2) for slope in slopes)  # one gains, the other loses


def test_straight_through_has_the_value_of_one_branch_and_the_gradient_of_the_mix() -> None:
    space = toy_space(Drop())
    supernet = Supernet(space)
    with torch.no_grad():
        for alpha in supernet.architecture_parameters():
            alpha.copy_(torch.tensor([0.0, 0.5]))
    routed = routing("straight-through", supernet, 1.0, torch.Generator(), for_choices=True)
    image = torch.rand(1, 3, 16, 16)
    found = supernet(image, **routed)
    torch.testing.assert_close(found, supernet(image, selection=dict.fromkeys(space.choices, "drop")))
    found.sum().backward()
    second = next(name for name in space.choices if name.startswith("second"))
    p = supernet.probabilities()[second].detach()
    # all sites dropped: y = 2 x; the second one kept would give x: dL/dp = (sum x, 2 sum x)
    slope = torch.tensor([image.sum(), 2 * image.sum()])
    expected = p * (slope - (p * slope).sum())
    torch.testing.assert_close(supernet.logits(second).grad, expected, rtol=1e-4, atol=1e-3)


def test_budget_counts_both_updates_of_a_step() -> None:
    assert SearchConfig(warm_up_steps=10, steps=80).budget == 170


def test_weights_and_choices_see_disjoint_patches(tmp_path: Path) -> None:
    problem = problem_of(toy_space(Drop()), tmp_path)
    (left,), (right,) = problem.for_weights.images, problem.for_choices.images
    assert left.shape == right.shape == (32, 32, 3)
    assert not np.array_equal(left, right)


def test_pairs_are_cut_alike_and_read_when_they_are_needed() -> None:
    clean = np.random.default_rng(0).integers(0, 255, (20, 40, 3), dtype=np.uint8)
    pair = Photograph("pair", (), lambda: (clean, 255 - clean))
    left, right = disjoint(PatchSampler([pair], 5.0, np.random.default_rng(1)), 0.25, 0)
    for sampler, part in ((left, clean[:, :30]), (right, clean[:, 30:])):
        found, noisy = sampler.images[0].read()
        np.testing.assert_array_equal(found, part)
        np.testing.assert_array_equal(noisy, 255 - part)
    assert left.shelf is not right.shelf


def test_what_the_solver_says_does_not_reach_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    c = ctypes.CDLL(None)
    with milp._unheard():
        c.printf(b"HighsMipSolverData\n")
    print("{}")
    c.fflush(None)
    assert capfd.readouterr().out == "{}\n"
