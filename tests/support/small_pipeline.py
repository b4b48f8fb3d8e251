"""The quickstart, shortened: a NAFNet of random weights, two photographs, few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from graphopt.models.checkpoints import save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
TARGETS = ("sm8650-adreno750", "exynos2100-mali-g78")


def silent(stage: str, share: float, words: str) -> None:
    pass


def config_of(**changes: Any) -> dict[str, Any]:
    return {
        "model": "tiny.safetensors",
        "resolution": [32, 32],
        "data": {"train": ["photos"], "test": ["photos"], "sigma": 25, "calibration_images": 2},
        "passes": [
            "bounded-gate", {"affine-norm": {"blend": 0.5}}, "static-attention", "partial-depthwise", "resize-upsample",
            "transposed-upsample", "skip-feed-forward", "fold-affine", "reparameterised-conv",
            {str(EXAMPLES / "custom_pass" / "diagonal_attention.py"): {"gain": 1.0}},
        ],
        "targets": dict.fromkeys(TARGETS, 1),
        "search": {"latency": 0.7, "steps": 14, "patches": [2, 32], "record_every": 2, "pareto": [0.85]},
        "finetune": {"steps": 6, "patches": [2, 32], "record_every": 2},
        **changes,
    }  # fmt: skip


def write_config(folder: Path, **changes: Any) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(config_of(**changes)))
    return path


def fill(folder: Path) -> None:
    """What `config_of` names: the network and the photographs."""
    torch.manual_seed(3)
    network = NAFNet(NAFNetConfig(4, (1, 1), 1, (1, 1)))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.uniform_(0.1, 0.5)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    save_checkpoint(network, folder / "tiny.safetensors")
    (folder / "photos").mkdir()
    random = np.random.default_rng(5)
    for number in range(2):
        pixels = random.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((50, 44)).save(folder / "photos" / f"{number}.png")
