"""Image files: folders of them, pixels in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError

Pixels = NDArray[np.uint8] | NDArray[np.float32]
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


def check_image_name(path: Path) -> None:
    """GraphoptError where the name of a file that is to be written says of no format that can be."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise GraphoptError(f"cannot write {path}: expected a name that ends in .png or .jpg")


def write_image(path: Path, image: NDArray[np.float32]) -> None:
    """`image` is (3, H, W) in [0, 1]; values outside are clipped."""
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary)
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


def to_planes(image: Pixels) -> NDArray[np.float32]:
    """(H, W, 3) -> (3, H, W) in [0, 1]: bytes are divided by 255, floats are taken as they are."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    return planes / np.float32(255) if image.dtype == np.uint8 else planes
