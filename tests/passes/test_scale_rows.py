"""scale-rows: a computed scale for each channel is written out for a row of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.scale_rows import ScaleRows
from graphs import kinds, network, refused, rewritten, run
from layers import IMAGES, X_TO_Y, attention


@pytest.mark.parametrize("mul", ["a, x", "x, a"])
def test_it_is_exact(mul: str) -> None:
    graph = attention(mul=mul)
    chosen = rewritten(graph, ScaleRows(), IMAGES)
    assert kinds(chosen) == ["GlobalAveragePool", "Conv", "Expand", "Mul"]
    np.testing.assert_array_equal(run(chosen, IMAGES[0]), run(graph, IMAGES[0]))


def test_products_of_images_stay() -> None:
    reason = "expected an image and a scale for each of its channels, found (1, 8, 12, 10) and (1, 8, 12, 10)"
    assert refused(network(f"{X_TO_Y} {{ a = Relu(x) y = Mul(a, x) }}"), ScaleRows()) == [reason]
    assert refused(network(f"{X_TO_Y} {{ y = Mul(x, x) }}"), ScaleRows()) == [reason]


def test_a_scale_for_all_channels_stays() -> None:
    graph = network(f"{X_TO_Y} {{ a = ReduceMean(x, axes) y = Mul(a, x) }}", {"axes": np.array([1, 2, 3])})
    reason = "expected an image and a scale for each of its channels, found (1, 8, 12, 10) and (1, 1, 1, 1)"
    assert refused(graph, ScaleRows()) == [reason]
