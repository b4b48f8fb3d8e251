"""What the lists `train` and `test` of a configuration name, as photographs and as pairs to judge by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.config.data import H5File, PairFolders, SiddFolder, Source
from graphopt.errors import GraphoptError
from graphopt.train.data.bayer import PackedRaw
from graphopt.train.data.h5 import h5_patches
from graphopt.train.data.images import Pixels, list_images, read_image, to_planes
from graphopt.train.data.noise import Noise
from graphopt.train.data.pairs import paired_folders
from graphopt.train.data.photographs import Photograph, Views
from graphopt.train.data.sidd import sidd

Planes = NDArray[np.float32]
NO_PAIRS = "data: 'noise: bayer' makes RAW of clean images, and found a pair, whose noise is in RGB; give clean images"


def open_photographs(sources: Sequence[Source], judged: bool = False) -> list[Photograph]:
    """Every photograph of `sources`, in their order; nothing is read yet. `judged`: they are to judge by."""
    found: list[Photograph] = []
    for source in sources:
        if isinstance(source, PairFolders):
            found += paired_folders(source)
        elif isinstance(source, SiddFolder):
            found += sidd(source.sidd, judged)
        elif isinstance(source, H5File):
            found += h5_patches(source.h5)
        else:
            found += [Photograph(path.name, (path,), partial(_clean, path)) for path in list_images([source])]
    return found


def _clean(path: Path) -> Views:
    return read_image(path), None


def pairs_of(
    photographs: Iterable[Photograph], noise: Noise, seed: int = 0, packed: PackedRaw | None = None
) -> Iterator[tuple[Planes, Planes]]:
    """(noisy, clean), (3, H, W), for every photograph; added noise is seeded by (`seed`, position): always the same.

    With `packed`, both are packed Bayer RAW, (4, H // 2, W // 2).
    """
    for position, photograph in enumerate(photographs):
        clean, noisy = photograph.read()
        planes, random = to_planes(clean), np.random.default_rng([seed, position])
        if packed is not None:
            if noisy is not None:
                raise GraphoptError(NO_PAIRS)
            yield packed(planes, random)
        elif noisy is None:
            yield noise(planes, random), planes
        else:
            yield to_planes(noisy), planes


def calibration(photographs: Sequence[Photograph], count: int, size: tuple[int, int], noise: Noise) -> list[Planes]:
    """The noisy middles (1, 3, *size) of `count` of the photographs, spread over all of them."""
    chosen = photographs[:: max(1, len(photographs) // count)][:count]
    images = []
    for position, photograph in enumerate(chosen):
        clean, partner = (None if pixels is None else _centre(pixels, *size) for pixels in photograph.read())
        assert clean is not None
        noisy = noise(clean, np.random.default_rng([99, position])) if partner is None else partner
        images.append(noisy[None])
    return images


def _centre(pixels: Pixels, height: int, width: int) -> Planes:
    """(H, W, 3) -> the middle (3, height, width), mirrored below and at the right where the image is smaller."""
    missing = [(0, max(0, size - extent)) for size, extent in zip((height, width), pixels.shape[:2], strict=True)]
    image = np.pad(to_planes(pixels), [(0, 0), *missing], mode="symmetric")
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return np.ascontiguousarray(image[:, top : top + height, left : left + width])
