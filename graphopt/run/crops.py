"""Small parts of the test photographs, which emulators can run: the busiest square of each of the first few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.run.run import Run
from graphopt.train.data import noise_of, pairs_of
from graphopt.train.metrics import psnr
from graphopt.train.restorer import PADDING, Restore

Planes = NDArray[np.float32]
Pair = tuple[Planes, Planes]  # noisy and clean, (C, H, W) each
SIDE = 64  # pixels: an emulator takes seconds for this, and a minute for 256
COUNT = 4


@dataclass(frozen=True)
class Crops:
    """Squares of `side` pixels; none, and a side of 0, where no photograph is as large as a network's stride."""

    pairs: tuple[Pair, ...]
    side: int

    def psnr(self, restore: Restore) -> list[float]:
        """dB, of each square."""
        return [psnr(restore(noisy), clean) for noisy, clean in self.pairs]


def crops_of(run: Run) -> Crops:
    """Of the first test photographs."""
    return crops(list(pairs_of(run.test_images[:COUNT], noise_of(run.config.data))))


def crops(pairs: list[Pair], largest: int = SIDE) -> Crops:
    """One of each image, all of the side that the smallest image holds, `largest` at most."""
    cut = [_busiest(noisy, clean, largest) for noisy, clean in pairs]
    side = min((noisy.shape[1] for noisy, _ in cut), default=0)
    if not side:
        return Crops((), 0)
    return Crops(tuple((noisy[:, :side, :side], clean[:, :side, :side]) for noisy, clean in cut), side)


def _busiest(noisy: Planes, clean: Planes, largest: int) -> Pair:
    """The square with the most detail."""
    side = min(largest, *clean.shape[1:]) // PADDING * PADDING
    step = max(side // 2, 1)
    corners = [
        (top, left)
        for top in range(0, clean.shape[1] - side + 1, step)
        for left in range(0, clean.shape[2] - side + 1, step)
    ]
    detail = [float(clean[:, t : t + side, left : left + side].std()) if side else 0.0 for t, left in corners]
    top, left = corners[int(np.argmax(detail))]
    part = (slice(None), slice(top, top + side), slice(left, left + side))
    return noisy[part], clean[part]
