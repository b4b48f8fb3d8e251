"""Patches of one small scene."""

import numpy as np

from graphopt.train.data import PatchSampler


def sampler(seed: int = 0) -> PatchSampler:
    rows, columns = np.mgrid[:48, :48]
    plane = 127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    image = np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)
    return PatchSampler([image], 25, np.random.default_rng(seed))


def pair(seed: int, size: tuple[int, int] = (40, 33)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy plane (3, H, W) of sigma 0.1, and the clean one."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]] / 9
    clean = np.stack([0.5 + 0.4 * np.sin(rows + shift) * np.cos(columns) for shift in range(3)]).astype(np.float32)
    return (clean + 0.1 * random.standard_normal(clean.shape, dtype=np.float32)).astype(np.float32), clean
