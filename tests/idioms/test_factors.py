"""Low-rank and rank-one factors against Eckart-Young."""

import numpy as np
import pytest

from graphopt.idioms.factors import low_rank, rank_one, second_moment


def test_low_rank_is_the_best_for_the_samples() -> None:
    """No other factors of that rank come closer: not plain SVD's, and not those nearby."""
    random = np.random.default_rng(3)
    samples = (random.normal(size=(4000, 6)) * [5, 3, 1, 1, 0.5, 0.1]).astype(np.float32)
    weight = random.normal(size=(5, 6)).astype(np.float32)

    def error(approximate: np.ndarray) -> float:
        return float(np.square(samples @ (weight - approximate).T).sum())

    left, right = low_rank(weight, second_moment(samples), 2)
    assert (left.shape, right.shape) == ((5, 2), (2, 6))
    u, s, v = np.linalg.svd(weight)
    best = error(left @ right)
    assert best < error((u[:, :2] * s[:2]) @ v[:2])
    centred = np.linalg.svd((samples @ weight.T).astype(np.float64), compute_uv=False)
    assert best == pytest.approx(np.square(centred[2:]).sum(), rel=1e-4)  # Eckart-Young, up to the ridge
    for _ in range(20):
        assert error((left + random.normal(0, 0.05, left.shape)) @ right) > best


def test_rank_one() -> None:
    matrices = np.random.default_rng(4).normal(size=(3, 4, 5)).astype(np.float32)
    u, v = rank_one(matrices)
    values = np.linalg.svd(matrices, compute_uv=False)
    left = np.square(matrices - u[:, :, None] * v[:, None]).sum(axis=(1, 2))
    np.testing.assert_allclose(left, np.square(values[:, 1:]).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1), rtol=1e-5)
