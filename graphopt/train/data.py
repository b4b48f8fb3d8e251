"""Photographs: folders of clean images, random patches from them, and noise with a fixed seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from graphopt.errors import GraphoptError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB, (H, W, 3), 0-255, turned upright where a camera noted that it was held sideways."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise GraphoptError(f"image {path} does not exist; give the path of a PNG or JPEG file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise GraphoptError(f"image {path} cannot be read ({error}); expected a PNG or JPEG file") from error


def write_image(path: Path, image: NDArray[np.float32]) -> None:
    """`image` is (3, H, W) in [0, 1]; values outside are clipped."""
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise GraphoptError(f"image {path} cannot be written: {error.strerror or error}") from error


def list_images(folders: Sequence[Path]) -> list[Path]:
    """Every image file of `folders`, sorted within each; an empty or missing folder is an error."""
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise GraphoptError(f"image folder {folder} does not exist; give a folder of PNG or JPEG files")
        inside = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not inside:
            raise GraphoptError(f"image folder {folder} holds no images; expected files ending in .png or .jpg")
        found += inside
    return found


def to_planes(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) 0-255 -> (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def add_noise(clean: NDArray[np.float32], sigma: float, seed: Sequence[int]) -> NDArray[np.float32]:
    """White Gaussian noise of `sigma` (on the 0-255 scale), not clipped, the same for the same `seed`."""
    noise = np.random.default_rng(list(seed)).standard_normal(clean.shape, dtype=np.float32)
    return clean + noise * np.float32(sigma / 255)


SCALES = (1.0, 0.8, 0.64, 0.5, 0.4)
SMALLEST = 96  # pixels; a photograph is not shrunk below


@dataclass
class PatchSampler:
    """Random crops with random flips and quarter turns, as noisy and clean batches (N, 3, size, size) in [0, 1].

    With `varied`, patches also change colour and contrast, and photographs are seen at several scales, so that a few
    photographs stand for many.
    """

    images: list[NDArray[np.uint8]]
    sigma: float
    random: np.random.Generator
    varied: bool = False

    @classmethod
    def of_folders(cls, folders: Sequence[Path], sigma: float, seed: int, varied: bool = False) -> PatchSampler:
        images = [read_image(path) for path in list_images(folders)]
        if varied:
            images = [shrunk for image in images for shrunk in _pyramid(image)]
        return cls(images, sigma, np.random.default_rng(seed), varied)

    def batch(self, count: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(noisy, clean). Images smaller than `size` are mirrored at their borders."""
        clean = np.stack([self._patch(size) for _ in range(count)])
        noise = self.random.standard_normal(clean.shape, dtype=np.float32)
        return clean + noise * np.float32(self.sigma / 255), clean

    def _patch(self, size: int) -> NDArray[np.float32]:
        image = self.images[self.random.integers(len(self.images))]
        missing = [max(0, size - extent) for extent in image.shape[:2]]
        if any(missing):
            image = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
        top, left = (int(self.random.integers(extent - size + 1)) for extent in image.shape[:2])
        crop = np.rot90(image[top : top + size, left : left + size], int(self.random.integers(4)))
        planes = to_planes(crop[:, ::-1] if self.random.integers(2) else crop)
        return self._vary(planes) if self.varied else planes

    def _vary(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """y = a (x - mean) + mean + b, channels in random order, a in [0.6, 1.5], b in [-0.2, 0.2] by channel."""
        patch = patch[self.random.permutation(3)]
        mean = patch.mean((1, 2), keepdims=True)
        contrast = np.float32(self.random.uniform(0.6, 1.5))
        shift = self.random.uniform(-0.2, 0.2, (3, 1, 1)).astype(np.float32)
        return np.clip((patch - mean) * contrast + mean + shift, 0, 1)


def _pyramid(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The image at each of SCALES that leaves SMALLEST pixels; at full size in any case."""
    height, width = image.shape[:2]
    scales = [scale for scale in SCALES if scale == 1 or min(height, width) * scale >= SMALLEST]
    return [
        np.asarray(Image.fromarray(image).resize((round(width * s), round(height * s)), Image.Resampling.LANCZOS))
        for s in scales
    ]
