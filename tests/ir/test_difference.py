"""Differences by hand, and of values that are none."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.ir.difference import relative_difference


def test_relative_to_the_largest_value() -> None:
    expected = np.array([1.0, -8.0, 2.0], np.float32)
    assert relative_difference(expected, expected) == 0
    assert relative_difference(np.array([1.5, -8.0, 1.0], np.float16), expected) == pytest.approx(1 / 8, rel=1e-12)
    assert relative_difference(np.array([0.0, 1e-15]), np.zeros(2)) == pytest.approx(1e-3, rel=1e-12)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_small_difference(odd: float) -> None:
    values = np.array([1.0, 2.0], np.float32)
    for found, expected in ((values * [1, odd], values), (values, values * [1, odd]), (values * odd, values * odd)):
        assert max(0.0, relative_difference(found, expected)) == float("inf")
