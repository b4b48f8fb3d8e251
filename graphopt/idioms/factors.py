"""Weights as products of smaller ones, fitted in closed form by least squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def second_moment(samples: Array) -> Array:
    """E[x x^T] (C, C) of samples (n, C), with a thousandth of its mean on the diagonal: few images do not span C."""
    x = samples.astype(np.float64)
    moment = x.T @ x / len(x)
    ridge = 1e-3 * np.trace(moment) / len(moment) + 1e-12
    return (moment + ridge * np.eye(len(moment))).astype(np.float32)


def low_rank(weight: Array, moment: Array, rank: int) -> tuple[Array, Array]:
    """A (O, r), B (r, I) that minimise E|(W - A B) x|^2 for `weight` W (O, I) and x of second moment E[x x^T] (I, I).

    With M = E[x x^T] = L L^T, A holds the first r left singular vectors of W L, and B = A^T W. After Zhang et al.,
    "Accelerating Very Deep Convolutional Networks" (arXiv 1505.06798).
    """
    values, vectors = np.linalg.eigh(moment.astype(np.float64))
    root = vectors * np.sqrt(np.maximum(values, 0))
    left = np.linalg.svd(weight.astype(np.float64) @ root, full_matrices=False)[0][:, :rank]
    return left.astype(np.float32), (left.T @ weight).astype(np.float32)


def rank_one(matrices: Array) -> tuple[Array, Array]:
    """u (..., a), v (..., b) of equal norms, with u v^T the best approximation of each of `matrices` (..., a, b)."""
    left, values, right = np.linalg.svd(matrices.astype(np.float64), full_matrices=False)
    root = np.sqrt(values[..., :1])
    return (left[..., :, 0] * root).astype(np.float32), (right[..., 0, :] * root).astype(np.float32)
