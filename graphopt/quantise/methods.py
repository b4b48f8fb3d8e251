"""Which values of a tensor keep their place: ranges by four methods. What lies outside is cut off at the border.

A wide range spends its steps on values that hardly occur, a narrow one cuts off those that matter; which of the two
costs more differs from network to network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import rel_entr

from graphopt.quantise.histograms import Histogram

Range = tuple[float, float]
Method = Callable[[Histogram, int], Range]  # of a tensor's values, and the number of steps -> (low, high)
PERCENT = 99.99  # of the values that `percentile` keeps
_SHARES = np.r_[np.geomspace(1 / 128, 0.5, 20), np.linspace(0.525, 1, 20)]  # of the whole range: ends that are tried
_MERGED = 128  # levels of which `entropy` asks how much they tell


def min_max(values: Histogram, steps: int) -> Range:
    """All of them."""
    return values.low, values.high


def percentile(values: Histogram, steps: int) -> Range:
    """All but the outermost `100 - PERCENT` per cent, half of them at each end. Zero stays inside."""
    share, cut = np.cumsum(values.counts) / max(1, values.counts.sum()), (1 - PERCENT / 100) / 2
    width, last = (values.high - values.low) / len(share), len(share) - 1
    low = values.low + width * min(int(np.searchsorted(share, cut, "right")), last)
    high = values.low + width * (min(int(np.searchsorted(share, 1 - cut)), last) + 1)
    return min(low, 0.0), max(high, 0.0)


def least_squares(values: Histogram, steps: int) -> Range:
    """Where the mean squared error is least: steps^2 / 12 of what is inside, and the distance of what is cut off."""
    lows, highs, centres = values.low * _SHARES, values.high * _SHARES, values.centres
    below = np.minimum(centres - lows[:, None], 0) ** 2 @ values.counts
    above = np.maximum(centres - highs[:, None], 0) ** 2 @ values.counts
    rounding = ((highs[None] - lows[:, None]) / steps) ** 2 / 12 * values.counts.sum()
    low, high = np.unravel_index(np.argmin(below[:, None] + above[None] + rounding), (len(_SHARES),) * 2)
    return float(lows[low]), float(highs[high])


def entropy(values: Histogram, steps: int) -> Range:
    """Where the distribution of what is left tells most of the whole (Kullback and Leibler), as TensorRT asks it: of
    ranges that reach as far below zero as above, where there are values.
    """
    bins = len(values.counts)
    edges = np.linspace(values.low, values.high, bins + 1)
    best: tuple[float, Range] = (np.inf, (values.low, values.high))
    for far in max(-values.low, values.high) * _SHARES[::-1]:
        first = int(np.searchsorted(edges, max(values.low, -far), "right")) - 1
        end = int(np.searchsorted(edges, min(values.high, far)))
        if end - first < _MERGED:
            break
        kept = values.counts[first:end].astype(np.float64)
        whole = kept.copy()
        whole[0] += values.counts[:first].sum()
        whole[-1] += values.counts[end:].sum()
        level = np.arange(len(kept)) * _MERGED // len(kept)
        filled = whole > 0
        sums, counts = np.bincount(level, kept, _MERGED), np.bincount(level, filled, _MERGED)
        merged = np.where(filled, (sums / np.maximum(counts, 1))[level], 0)
        if not merged.sum():
            break
        smooth = np.where(filled, np.maximum(merged, 1e-4), 0)  # cut-off values that fall on none that are kept
        lost = float(rel_entr(whole / whole.sum(), smooth / smooth.sum()).sum())
        if lost < best[0]:
            best = lost, (float(edges[first]), float(edges[end]))
    return min(best[1][0], 0.0), max(best[1][1], 0.0)


METHODS: dict[str, Method] = {
    "min-max": min_max,
    "percentile": percentile,
    "mse": least_squares,
    "entropy": entropy,
}
