"""A training of a few steps on one small photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from graphopt.config.training import PretrainConfig
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.train.pretrain import pretrain

TINY: dict[str, Any] = {"width": 4, "encoder_blocks": [1], "middle_blocks": 1, "decoder_blocks": [1]}


def scene(folder: Path) -> Path:
    """The folder, with one small scene in it."""
    rows, columns = np.mgrid[:64, :64]
    plane = 127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    Image.fromarray(np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)).save(folder / "a.png")
    return folder


def content(photographs: Path, output: Path, **changes: Any) -> dict[str, Any]:
    fixed = {
        "model": TINY, "images": [str(photographs)], "output": str(output), "steps": 12, "small": [4, 16],
        "large": [4, 24], "learning_rate": 1e-3, "ema": 0.8, "save_every": 5, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return {**fixed, **changes}


def trained(photographs: Path, folder: Path, name: str, **changes: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = NAFNet(NAFNetConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in TINY.items()}))
    config = PretrainConfig.model_validate(content(photographs, folder / "w", **changes))
    return pretrain(network, config, folder / f"{name}.pt", lambda share, words: None).state_dict()


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[key] - b[key]).abs().max()) for key in a)
