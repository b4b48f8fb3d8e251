"""Packed Bayer RAW: the pixels of an RGGB sensor as four channels R, G, G, B at half the size, noisy and clean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.config.data import NoiseKeys
from graphopt.train.data.unprocess import Camera, RawNoise

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class PackedRaw:
    """sRGB -> (packed raw + n, packed raw), linear in [0, 1] where there is no noise, n ~ N(0, shot * raw + read).

    The camera is a random one (see `unprocess`); nothing is white-balanced or demosaiced, and noise is not clipped.
    """

    noise: RawNoise

    def __call__(self, image: Planes, random: np.random.Generator) -> tuple[Planes, Planes]:
        """(3, H, W) -> noisy and clean, (4, H // 2, W // 2). Its first pixel is red; an odd last row or column goes."""
        even = image[:, : image.shape[1] // 2 * 2, : image.shape[2] // 2 * 2]
        raw, noise = self.noise.sensed(even, Camera.random(random), random)
        return pack(raw + noise), pack(raw)


def pack(raw: Planes) -> Planes:
    """(H, W), R G over G B, H and W even -> (4, H / 2, W / 2): R, G beside R, G beside B, B."""
    return np.stack([raw[0::2, 0::2], raw[0::2, 1::2], raw[1::2, 0::2], raw[1::2, 1::2]])


def packed_of(keys: NoiseKeys) -> PackedRaw | None:
    """What `noise: bayer` asks for; None where images stay RGB."""
    if keys.noise == "gaussian" or not keys.noise.packed:
        return None
    return PackedRaw(RawNoise(keys.noise.shot, keys.noise.read))
