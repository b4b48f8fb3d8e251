"""How far a training has come, and its learning rate there."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.train.schedule import Budget, cosine


def test_cosine() -> None:
    assert cosine(0, 1e-3) == pytest.approx(1e-3)
    assert cosine(0.5, 1e-3) == pytest.approx((1e-3 + 1e-7) / 2)
    assert cosine(1, 1e-3) == pytest.approx(1e-7)
    assert cosine(0.25, 1, end=0) == pytest.approx((1 + np.cos(np.pi / 4)) / 2)
    assert [cosine(share, 1, 0, warm_up=0.2) for share in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [Budget(steps=4).progress(step) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    now = 100.0
    monkeypatch.setattr("graphopt.train.schedule.time.monotonic", lambda: now)
    budget = Budget(minutes=2, _started=100.0)
    budget.spent = 30
    assert budget.progress(7) == pytest.approx(0.25)
    now = 145.0
    assert budget.seconds() == pytest.approx(75)
    assert budget.progress(7) == pytest.approx(75 / 120)
    now = 1000.0
    assert budget.progress(7) == 1
