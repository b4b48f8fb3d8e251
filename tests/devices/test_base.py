"""Spreads of means."""

from __future__ import annotations

import pytest

from graphopt.devices.base import spread_of_mean


def test_the_spread_narrows_with_the_runs() -> None:
    assert spread_of_mean(10.0, 2.0, 100) == pytest.approx((9.671, 10.329))
    assert spread_of_mean(10.0, 2.0, 400) == pytest.approx((9.8355, 10.1645))
    assert spread_of_mean(10.0, 2.0, 100, 1.25) == pytest.approx((9.58875, 10.41125))


def test_no_time_is_negative() -> None:
    assert spread_of_mean(1.0, 100.0, 4)[0] == 0.0
