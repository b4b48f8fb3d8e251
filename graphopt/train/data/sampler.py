"""Random patches: crops with flips and quarter turns, changes of colour and scale, Mixup, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graphopt.config.data import H5File, PairFolders, SiddFolder, TrainData
from graphopt.errors import GraphoptError
from graphopt.train.data.bayer import PackedRaw, packed_of
from graphopt.train.data.images import Pixels, list_images, read_image, to_planes
from graphopt.train.data.noise import Gaussian, Noise, noise_of
from graphopt.train.data.photographs import Photograph, Shelf
from graphopt.train.data.sources import NO_PAIRS, open_photographs

Planes = NDArray[np.float32]
Patch = tuple[Planes, Planes | None]  # clean, and noisy where there is a partner
SCALES = (1.0, 0.8, 0.64, 0.5, 0.4)
SMALLEST = 96  # pixels; a photograph is not shrunk below


@dataclass
class PatchSampler:
    """Random crops with random flips and quarter turns, as noisy and clean batches (N, 3, size, size) in [0, 1].

    `images` are clean pixels, to which `noise` is added (a number is a sigma), or photographs, pairs among them.
    With `varied`, patches of clean images also change colour and contrast, and photographs are seen at several scales,
    so that a few photographs stand for many. With `mixup`, each patch is a blend a x + (1 - a) y of two,
    a ~ Beta(mixup, mixup) (Zhang et al., ICLR 2018); noise is added afterwards, pairs are blended with their noise.
    With `packed`, clean images of twice the size become packed Bayer RAW, (N, 4, size, size): crops, flips and turns
    come before the mosaic, so that every patch begins with red.
    """

    images: Sequence[Pixels | Photograph]
    noise: Noise | float
    random: np.random.Generator
    varied: bool = False
    mixup: float = 0.0
    shelf: Shelf = field(default_factory=Shelf)
    packed: PackedRaw | None = None

    @classmethod
    def of_folders(cls, folders: Sequence[Path], sigma: float, seed: int, varied: bool = False) -> PatchSampler:
        """Clean photographs with Gaussian noise."""
        return cls(_clean_images(folders, varied), sigma, np.random.default_rng(seed), varied)

    @classmethod
    def of_data(cls, data: TrainData, seed: int, varied: bool | None = None) -> PatchSampler:
        """What the `data` of a configuration names to train on; `varied` in place of its `vary`."""
        varied = data.vary if varied is None else varied
        images: list[Pixels | Photograph] = []
        for source in data.train:
            if isinstance(source, PairFolders | SiddFolder | H5File):
                images += open_photographs([source])
            else:
                images += _clean_images([source], varied)
        return cls(images, noise_of(data), np.random.default_rng(seed), varied, data.mixup, packed=packed_of(data))

    def seeded(self, *seed: int) -> PatchSampler:
        """The same images and noise, with randomness of its own."""
        return replace(self, random=np.random.default_rng(seed))

    def batch(self, count: int, size: int) -> tuple[Planes, Planes]:
        """(noisy, clean). Images smaller than `size` are mirrored at their borders."""
        if self.packed is not None:
            drawn = [self.packed(self._clean(2 * size), self.random) for _ in range(count)]
            return np.stack([noisy for noisy, _ in drawn]), np.stack([clean for _, clean in drawn])
        patches = [self._mixed(size) for _ in range(count)]
        clean = np.stack([patch[0] for patch in patches])
        partners = [patch[1] for patch in patches]
        if all(partner is not None for partner in partners):
            return np.stack([partner for partner in partners if partner is not None]), clean
        noise = self.noise if callable(self.noise) else Gaussian(self.noise, self.noise)
        noisy = noise(clean, self.random)
        for place, partner in enumerate(partners):
            if partner is not None:
                noisy[place] = partner
        return noisy, clean

    def _clean(self, size: int) -> Planes:
        clean, noisy = self._mixed(size)
        if noisy is not None:
            raise GraphoptError(NO_PAIRS)
        return clean

    def _mixed(self, size: int) -> Patch:
        clean, noisy = self._patch(size)
        if not self.mixup:
            return clean, noisy
        share = np.float32(self.random.beta(self.mixup, self.mixup))
        other_clean, other_noisy = self._patch(size)
        if noisy is None and other_noisy is None:
            return share * clean + (1 - share) * other_clean, None
        if noisy is not None and other_noisy is not None:
            return share * clean + (1 - share) * other_clean, share * noisy + (1 - share) * other_noisy
        return clean, noisy  # a pair's noise and noise that is yet to be added do not blend

    def _patch(self, size: int) -> Patch:
        place = int(self.random.integers(len(self.images)))
        image = self.images[place]
        clean, noisy = self.shelf.read(place, image) if isinstance(image, Photograph) else (image, None)
        clean, noisy = _mirrored(clean, size), None if noisy is None else _mirrored(noisy, size)
        top, left = (int(self.random.integers(extent - size + 1)) for extent in clean.shape[:2])
        turns, flipped = int(self.random.integers(4)), bool(self.random.integers(2))

        def cut(pixels: Pixels) -> Planes:
            crop = np.rot90(pixels[top : top + size, left : left + size], turns)
            return to_planes(crop[:, ::-1] if flipped else crop)

        if noisy is not None:
            return cut(clean), cut(noisy)
        return (self._vary(cut(clean)) if self.varied else cut(clean)), None

    def _vary(self, patch: Planes) -> Planes:
        """y = a (x - mean) + mean + b, channels in random order, a in [0.6, 1.5], b in [-0.2, 0.2] by channel."""
        patch = patch[self.random.permutation(3)]
        mean = patch.mean((1, 2), keepdims=True)
        contrast = np.float32(self.random.uniform(0.6, 1.5))
        shift = self.random.uniform(-0.2, 0.2, (3, 1, 1)).astype(np.float32)
        return np.clip((patch - mean) * contrast + mean + shift, 0, 1)


def _mirrored(pixels: Pixels, size: int) -> Pixels:
    missing = [max(0, size - extent) for extent in pixels.shape[:2]]
    if not any(missing):
        return pixels
    return np.pad(pixels, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")  # type: ignore[return-value]


def _clean_images(folders: Sequence[Path], varied: bool) -> list[Pixels]:
    images = [read_image(path) for path in list_images(folders)]
    return [shrunk for image in images for shrunk in _pyramid(image)] if varied else list(images)


def _pyramid(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The image at each of SCALES that leaves SMALLEST pixels; at full size in any case."""
    height, width = image.shape[:2]
    scales = [scale for scale in SCALES if scale == 1 or min(height, width) * scale >= SMALLEST]
    return [
        np.asarray(Image.fromarray(image).resize((round(width * s), round(height * s)), Image.Resampling.LANCZOS))
        for s in scales
    ]
