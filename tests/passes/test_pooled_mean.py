"""pooled-mean: a mean over height and width is a pooling."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.pooled_mean import PooledMean
from graphs import difference, kinds, network, refused, rewritten, run, site_names
from layers import IMAGES, X_TO_Y, attention


def test_it_is_exact() -> None:
    graph = attention(pool="ReduceMean<keepdims = 1>(x, axes)")
    chosen = rewritten(graph, PooledMean(), IMAGES)
    assert kinds(chosen) == ["GlobalAveragePool", "Conv", "Mul"]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6


@pytest.mark.parametrize("axes", [[1], [3], [1, 2, 3]])
def test_other_means_stay(axes: list[int]) -> None:
    graph = network(f"{X_TO_Y} {{ a = ReduceMean(x, axes) y = Mul(a, x) }}", {"axes": np.array(axes)})
    assert site_names(graph, PooledMean()) == []


def test_a_volume_stays() -> None:
    text = "(float[1, 8, 6, 4, 2] x) => (float[1, 8, 1, 1, 2] y) { y = ReduceMean(x, axes) }"
    graph = network(text, {"axes": np.array([2, 3])})
    assert refused(graph, PooledMean()) == ["expected a tensor of 4 dimensions, found 5"]
