"""Large images by overlapping tiles, blended where they meet."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from graphopt.progress import Progress, silent

Planes = NDArray[np.float32]
OVERLAP = 32  # pixels


def by_tiles(
    run: Callable[[Planes], Planes],
    image: Planes,
    tile: tuple[int, int],
    overlap: int = OVERLAP,
    stride: int = 1,
    say: Progress = silent,
) -> Planes:
    """`run` on tiles of (3, *tile) of `image` (3, H, W). Smaller images are padded with zeros to one tile.

    Neighbours share `overlap` pixels or more, over which one fades into the other. Where `stride` divides the sides of
    image and tile, tiles start at its multiples: a network that downsamples sees the pixels grouped as in the whole
    image, so that outside the overlaps a network whose reach is no longer than one computes the same. A network that
    pools over the whole image sees the tile in its place, and computes something else.
    """
    channels, height, width = image.shape
    overlap = min(overlap, min(tile) // 2)
    image = pad(image, max(height, tile[0]), max(width, tile[1]))
    total, weight = np.zeros_like(image), np.zeros_like(image[:1])
    starts = [_starts(image.shape[axis], tile[axis - 1], overlap, stride) for axis in (1, 2)]
    corners = list(product(*starts))
    for number, (top, left) in enumerate(corners):
        say(number / len(corners), f"tile {number + 1} of {len(corners)}")
        place = (slice(None), slice(top, top + tile[0]), slice(left, left + tile[1]))
        rows = _ramp(top, tile[0], image.shape[1], overlap)
        columns = _ramp(left, tile[1], image.shape[2], overlap)
        window = np.minimum.outer(rows, columns)[None]
        total[place] += run(np.ascontiguousarray(image[place])) * window
        weight[place] += window
    return (total / weight)[:channels, :height, :width]


def pad(image: Planes, height: int, width: int) -> Planes:
    """(C, H, W) -> (C, height, width), with zeros below and at the right."""
    missing = [(0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])]
    return np.pad(image, missing) if any(after for _, after in missing) else image


def _starts(extent: int, tile: int, overlap: int, stride: int) -> list[int]:
    step = max(1, (tile - overlap) // stride) * stride
    return sorted({min(start, extent - tile) for start in range(0, max(extent - overlap, 1), step)})


def _ramp(start: int, tile: int, extent: int, overlap: int) -> Planes:
    """The weight of a tile along one axis: it fades where another tile goes on, not at the border of the image."""
    position, full = np.arange(tile), np.full(tile, max(1, overlap))
    before = position + 1 if start > 0 else full
    after = tile - position if start + tile < extent else full
    return np.minimum(np.minimum(before, after) / max(1, overlap), 1).astype(np.float32)
