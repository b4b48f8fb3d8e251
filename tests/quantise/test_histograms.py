"""What is counted of a network's tensors, and what has no range."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import onnx_model

from graphopt.errors import GraphoptError
from graphopt.quantise import tensors
from graphopt.quantise.histograms import BINS, histograms

TEXT = '(float[1,1,2,2] x) => (float[1,1,2,2] y) { ["up"] a = Add(x, k) y = Relu(a) }'


def image(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, 2, 2)


def test_every_tensor_is_counted_over_all_images() -> None:
    model = onnx_model(TEXT, {"k": np.float32(1)})
    found = histograms(model, [image(-3, 0, 0, 1), image(0, 0, 0, 3)])
    assert {name: (seen.low, seen.high) for name, seen in found.items()} == {"x": (-3, 3), "a": (-2, 4), "y": (0, 4)}
    assert all(len(seen.counts) == BINS and seen.counts.sum() == 8 for seen in found.values())
    assert (found["y"].counts[0], found["y"].counts[BINS // 4], found["y"].counts[-1]) == (1, 5, 1)
    assert found["y"].centres[[0, -1]] == pytest.approx([4 / BINS / 2, 4 - 4 / BINS / 2])


def test_a_range_holds_zero() -> None:
    found = histograms(onnx_model(TEXT, {"k": np.float32(1)}), [image(5, 6, 7, 8)])
    assert (found["a"].low, found["a"].high) == (0, 9)


def test_memory_is_bounded_by_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = onnx_model(TEXT, {"k": np.float32(1)}), [image(-3, 0, 0, 1)]
    whole = histograms(model, images)
    monkeypatch.setattr(tensors, "_AT_ONCE", 16)  # bytes: one tensor
    shares: list[float] = []
    parted = histograms(model, images, lambda share, words: shares.append(share))
    assert list(parted) == list(whole)
    assert all((parted[name].counts == whole[name].counts).all() for name in whole)
    assert shares == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


@pytest.mark.parametrize("odd", [np.inf, np.nan])
def test_a_tensor_without_a_range_is_named(odd: float) -> None:
    with pytest.raises(GraphoptError, match=r"tensor 'a' \(made by node up\) has values that are not finite"):
        histograms(onnx_model(TEXT, {"k": np.float32(odd)}), [image(0, 1, 2, 3)])
