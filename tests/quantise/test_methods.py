"""Ranges: outliers are ignored by all methods but one, and what has none keeps its ends."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.quantise.histograms import BINS, Histogram
from graphopt.quantise.methods import METHODS, entropy, least_squares, min_max, percentile


def histogram(values: np.ndarray) -> Histogram:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return Histogram(low, high, np.histogram(values, BINS, (low, high))[0])


NORMAL = np.random.default_rng(0).standard_normal(100_000)
WEIGHT = 200  # how often each of them is there: twenty million values, as an image's tensor has


def with_outlier(outlier: float) -> Histogram:
    """Values around zero with a deviation of 1, and a single one far off."""
    seen = histogram(np.append(NORMAL, outlier))
    counts = WEIGHT * seen.counts
    counts[-1] = 1
    return Histogram(seen.low, seen.high, counts)


def test_only_min_max_keeps_an_outlier() -> None:
    values = with_outlier(100)
    assert min_max(values, 255) == (values.low, 100.0)
    low, high = percentile(values, 255)
    assert (low, high) == pytest.approx((-3.89, 3.89), abs=0.1)
    assert 3 < least_squares(values, 255)[1] < 8
    assert entropy(with_outlier(20), 255)[1] < 10


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["percentile", "mse"])
def test_the_best_range_is_found_beside_an_outlier(name: str, sign: int) -> None:
    """Of 10^8 values from 0 to 1 and one at 2: (h / 255)^2 / 12 x 10^8 + (2 - h)^2 is least near h = 1, 129 in all,
    and 512 with the outlier inside.
    """
    counts = np.r_[np.full(BINS // 2, 10**8 // (BINS // 2)), np.zeros(BINS // 2 - 1, np.int64), 1]
    values = Histogram(0, 2, counts) if sign > 0 else Histogram(-2, 0, counts[::-1])
    found = METHODS[name](values, 255)
    assert (found[::sign][0], sign * found[::sign][1]) == pytest.approx((0, 1), abs=2e-3)
    assert np.abs(min_max(values, 255)).max() == 2


def test_the_range_by_squares_loses_least() -> None:
    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        cut = [np.clip(np.round(values / step) * step, low, high) - values for values in (NORMAL, np.array([30.0]))]
        return float(WEIGHT * (cut[0] ** 2).sum() + (cut[1] ** 2).sum())

    found = {name: error(*find(with_outlier(30), 255)) for name, find in METHODS.items()}
    assert found["mse"] < 1.1 * min(found.values())
    assert found["mse"] < 0.3 * found["min-max"]


@pytest.mark.parametrize("name", METHODS)
def test_a_flat_distribution_keeps_its_ends(name: str) -> None:
    values = histogram(np.linspace(0, 6, 60_001))
    assert METHODS[name](values, 255) == pytest.approx((0.0, 6.0), rel=0.03)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("values", [np.zeros(100), np.full(100, 2.0), np.full(100, -2.0)])
def test_a_range_holds_zero_whatever_the_values(name: str, values: np.ndarray) -> None:
    low, high = min(0.0, values.min()), max(0.0, values.max())
    seen = Histogram(low, high, np.histogram(values, BINS, (low, high if high > low else low + 1))[0])
    found_low, found_high = METHODS[name](seen, 255)
    assert low - 1e-9 <= found_low <= 0 <= found_high <= high + 1e-9
    assert np.isfinite([found_low, found_high]).all()
