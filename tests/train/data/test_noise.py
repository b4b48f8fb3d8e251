"""Noise of one sigma or a range of them, and Mixup."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.config.data import EvaluationData
from graphopt.train.data import Gaussian, PatchSampler, add_noise, noise_of


def keys(**changes: object) -> EvaluationData:
    return EvaluationData.model_validate({"test": ["photographs"], **changes})


def test_each_image_of_a_batch_has_a_sigma_of_its_own() -> None:
    clean = np.full((200, 3, 24, 24), 0.5, np.float32)
    noise = noise_of(keys(sigma=[10, 50]))
    noisy = noise(clean, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    found = ((noisy - clean) * 255).std((1, 2, 3))
    assert 9 < found.min() < 12
    assert 48 < found.max() < 53
    assert found.mean() == pytest.approx(30, abs=2)
    assert noise(clean[0], np.random.default_rng(0)).shape == (3, 24, 24)
    np.testing.assert_array_equal(noisy, noise(clean, np.random.default_rng(0)))
    assert noise_of(keys()) == Gaussian(25, 25)


def photograph(size: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] / 9
    return np.stack([0.5 + 0.35 * np.sin(rows + i) * np.cos(columns) for i in range(3)]).astype(np.float32)


def test_mixup_blends_clean_patches_before_the_noise() -> None:
    images = [np.full((16, 16, 3), value, np.uint8) for value in (0, 255)]
    noisy, clean = PatchSampler(images, 25, np.random.default_rng(0), mixup=1.0).batch(200, 8)
    means = clean.mean((1, 2, 3))
    assert np.histogram(means, 4, (0, 1))[0].min() > 5  # blends of every share, beside unblended ones
    assert clean.dtype == noisy.dtype == np.float32
    assert ((noisy - clean) * 255).std() == pytest.approx(25, rel=0.02)
    plain = PatchSampler(images, 25, np.random.default_rng(0)).batch(200, 8)[1]
    assert set(np.unique(plain)) == {0.0, 1.0}


@pytest.mark.parametrize("sigma", [5.0, 25.0, 50.0])
def test_noise_has_the_sigma_asked_for_and_no_bias(sigma: float) -> None:
    clean = np.full((3, 200, 200), 0.5, np.float32)
    noise = (add_noise(clean, sigma, (1, 2)) - clean) * 255
    assert noise.std() == pytest.approx(sigma, rel=0.01)
    assert abs(noise.mean()) < sigma * 0.015
    assert abs(np.corrcoef(noise[0, :, :-1].ravel(), noise[0, :, 1:].ravel())[0, 1]) < 0.03  # white


def test_noise_follows_its_seed_and_is_not_clipped() -> None:
    clean = np.zeros((3, 16, 16), np.float32)
    np.testing.assert_array_equal(add_noise(clean, 25, (0, 1)), add_noise(clean, 25, (0, 1)))
    assert not np.array_equal(add_noise(clean, 25, (0, 1)), add_noise(clean, 25, (0, 2)))
    assert not np.array_equal(add_noise(clean, 25, (0, 1)), add_noise(clean, 25, (1, 1)))
    assert add_noise(clean, 25, (0, 1)).min() < 0
    np.testing.assert_array_equal(add_noise(clean, 0, (0, 1)), clean)
