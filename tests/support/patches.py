"""Patches of one small scene."""

import numpy as np

from graphopt.train.data import PatchSampler


def sampler(seed: int = 0) -> PatchSampler:
    rows, columns = np.mgrid[:48, :48]
    plane = 127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    image = np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)
    return PatchSampler([image], 25, np.random.default_rng(seed))
