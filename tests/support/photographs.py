"""Photographs of random pixels, on disk and as a configuration names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphopt.config.data import TrainData
from graphopt.config.reading import validate
from graphopt.train.data import Photograph, open_photographs  # fmt: skip


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3), uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def source(**keys: Any) -> TrainData:
    """`data: {train: [KEYS]}`, read."""
    return validate({"train": [keys]}, TrainData, Path("config.yaml").resolve())


def photographs(judged: bool = False, **keys: Any) -> list[Photograph]:
    return open_photographs(source(**keys).train, judged)
