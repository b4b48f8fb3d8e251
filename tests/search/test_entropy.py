"""The entropy-regularised choice: trials decide, and are part of the budget."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_toys import TARGET, Drop, search_of, toy_space

from graphopt.ir.space import Selection


def dropped(selection: Selection) -> tuple[str, ...]:
    return tuple(sorted(name.split("/")[0] for name, option in selection.items() if option == "drop"))


def test_trial_overrules_the_sensitivities_where_trained_networks_say_otherwise(tmp_path: Path) -> None:
    """The sensitivities say that `second` loses least; the images say that it loses most."""
    space = toy_space(Drop())
    lost = {"first": 0.2, "second": 0.15, "third": 0.25}
    result = search_of(space, tmp_path, lost=lost, steps=85, record_every=1).run(lambda share, words: None)
    assert dropped(result.selection) == ("first", "third")
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
    alone = search_of(space, tmp_path / "alone", lost=lost, steps=85, contenders=1).run(lambda share, words: None)
    assert "second" in dropped(alone.selection)
