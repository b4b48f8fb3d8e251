"""White Gaussian noise, of one strength or of a range of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.config.data import NoiseKeys
from graphopt.train.data.unprocess import RawNoise

Planes = NDArray[np.float32]
Noise = Callable[[Planes, np.random.Generator], Planes]  # clean images (..., 3, H, W) -> noisy ones, not clipped


@dataclass(frozen=True)
class Gaussian:
    """noisy = clean + sigma / 255 * n, n ~ N(0, 1); each image has a sigma of its own, uniform in [low, high]."""

    low: float
    high: float

    def __call__(self, clean: Planes, random: np.random.Generator) -> Planes:
        sigma: float | Planes = self.high
        if self.low != self.high:
            sigma = random.uniform(self.low, self.high, (*clean.shape[:-3], 1, 1, 1)).astype(np.float32)
        return clean + random.standard_normal(clean.shape, dtype=np.float32) * np.float32(sigma / 255)


def noise_of(keys: NoiseKeys) -> Noise:
    """The noise that the keys `sigma` and `noise` ask for."""
    if keys.noise != "gaussian":
        return RawNoise(keys.noise.shot, keys.noise.read)
    low, high = keys.sigma if isinstance(keys.sigma, tuple) else (keys.sigma, keys.sigma)
    return Gaussian(low, high)


def add_noise(clean: Planes, sigma: float, seed: Sequence[int]) -> Planes:
    """White Gaussian noise of `sigma` (on the 0-255 scale), not clipped, the same for the same `seed`."""
    return Gaussian(sigma, sigma)(clean, np.random.default_rng(list(seed)))
