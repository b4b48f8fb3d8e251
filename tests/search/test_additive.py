"""Sums of parts: of selections, of probabilities, and corrected by whole networks."""

from __future__ import annotations

import itertools

import pytest
import torch
from search_toys import TARGET, Drop, DropPair, table_of, toy_space

from graphopt.ir.space import KEEP
from graphopt.search.additive import Additive, Doubt, corrected, latency_of


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


def test_expectation_counts_an_inner_choice_where_the_outer_is_kept() -> None:
    space = toy_space(Drop(), DropPair())
    p = {name: torch.tensor([0.25, 0.75]) for name in space.choices}
    values = dict.fromkeys(space.choices, [0.0, 2.0])
    assert Additive(space, 0.0, values)(p).item() == pytest.approx(1.5 + 1.5 + 2 * 0.25 * 1.5, abs=1e-6)


def test_the_sum_counts_nothing_inside_a_replaced_site() -> None:
    space = toy_space(Drop(), DropPair())
    outer = next(name for name in space.choices if space.children(name))
    model = Additive(space, 10.0, {name: [0.0, -1.0 - i] for i, name in enumerate(space.choices)})
    everything = {name: choice.options[1] for name, choice in space.choices.items()}
    counted = [name for name in space.choices if name not in space.children(outer)]
    assert model.of(everything) == pytest.approx(10 + sum(model.values[name][1] for name in counted))
    assert model.of({}) == 10.0


def test_whole_networks_correct_a_model_to_what_they_were_worth() -> None:
    """All selections of three choices, worth 7 - 2 a - 0.5 b - c; the model says 4 - a - b - c."""
    space = toy_space(Drop())
    model = Additive(space, 4.0, {name: [0.0, -1.0] for name in space.choices})
    truth = dict(zip(space.choices, (2.0, 0.5, 1.0), strict=True))
    seen = [
        (selection, 7 - sum(truth[name] for name, option in selection.items() if option == "drop"))
        for options in itertools.product((KEEP, "drop"), repeat=3)
        for selection in [dict(zip(space.choices, options, strict=True))]
    ]
    doubt = Doubt(base=10.0, own=10.0, noise=1e-3)
    found = corrected(model, seen, doubt, near=5.0)
    assert found.base == pytest.approx(7.0, abs=1e-4)
    assert [found.values[name] for name in space.choices] == [
        [0.0, pytest.approx(-value, abs=1e-4)] for value in truth.values()
    ]
    one = corrected(model, seen[-1:], Doubt(base=0.0, own=1.0, noise=1.0), near=3.5)
    # worth 3.5 where 1 was said: of 2.5 too much, each of three options takes 1 / (3 + 1)
    assert one.values[next(iter(space.choices))][1] == pytest.approx(-1.0 + 2.5 / 4)
    family = corrected(model, seen[4:5], Doubt(base=0.0, own=0.0, of_pass=1.0, noise=0.0, far=1e-6), near=5.0)
    # 5 where 3 was said, for one option of a pass: all of it are worth as much more
    assert [row[1] for row in family.values.values()] == pytest.approx([1.0, 1.0, 1.0])


def test_what_is_far_from_the_goal_counts_less() -> None:
    space = toy_space(Drop())
    model = Additive(space, 4.0, {name: [0.0, -1.0] for name in space.choices})
    kept = dict.fromkeys(space.choices, KEEP)
    doubt = Doubt(base=1.0, own=0.0, noise=0.1, far=1.0)
    near = corrected(model, [(kept, 6.0)], doubt, near=6.0)
    far = corrected(model, [(kept, 6.0)], doubt, near=2.0)
    assert near.base == pytest.approx(4 + 2 / 1.01)
    assert far.base == pytest.approx(4 + 2 / (1 + 0.01 + 16))
