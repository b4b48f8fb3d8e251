"""Photographs in two parts, which share no pixel."""

from __future__ import annotations

import numpy as np

from graphopt.train.data import PatchSampler, Photograph
from graphopt.train.data.disjoint import disjoint


def test_an_image_is_cut_in_two() -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)
    parts = disjoint(PatchSampler([image], 5.0, np.random.default_rng(1)), 0.5, 0)
    np.testing.assert_array_equal(np.concatenate([part.images[0] for part in parts], axis=1), image)
    assert [part.images[0].shape for part in parts] == [(32, 32, 3)] * 2


def test_pairs_are_cut_alike_and_read_when_they_are_needed() -> None:
    clean = np.random.default_rng(0).integers(0, 255, (20, 40, 3), dtype=np.uint8)
    pair = Photograph("pair", (), lambda: (clean, 255 - clean))
    left, right = disjoint(PatchSampler([pair], 5.0, np.random.default_rng(1)), 0.25, 0)
    for sampler, part in ((left, clean[:, :30]), (right, clean[:, 30:])):
        found, noisy = sampler.images[0].read()
        np.testing.assert_array_equal(found, part)
        np.testing.assert_array_equal(noisy, 255 - part)
    assert left.shelf is not right.shelf
