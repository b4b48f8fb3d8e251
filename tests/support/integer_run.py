"""A run for a target that computes in integers: a small network, five photographs, a search of two steps.

The search aims at `mine.yaml` of `rated`, whose prices nobody measures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from graphs import onnx_model
from PIL import Image

SIZE = "float[1,3,32,32]"


def nearly_identity() -> onnx.ModelProto:
    """Adds a depthwise branch to the image; weights small enough that noise stays what it is."""
    random = np.random.default_rng(3)
    weights = {
        "w": random.normal(0, 0.2, (8, 3, 3, 3)), "k": random.normal(0, 0.2, (8, 1, 3, 3)),
        "u": random.normal(0, 0.05, (3, 8, 1, 1)),
    }  # fmt: skip
    return onnx_model(
        f"""({SIZE} x) => ({SIZE} y) {{
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) r = Relu(a)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(r, k)
        e = Conv<kernel_shape=[1,1]>(c, u) y = Add(e, x) }}""",
        {name: weight.astype(np.float32) for name, weight in weights.items()},
    )


def fill(folder: Path, photographs: int = 5) -> None:
    """What `write_config` names."""
    onnx.save(nearly_identity(), folder / "small.onnx")
    (folder / "photos").mkdir()
    random = np.random.default_rng(5)
    for number in range(photographs):
        pixels = random.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72, 64)).save(folder / "photos" / f"{number}.png")


def write_config(folder: Path, **changes: Any) -> Path:
    config = {
        "model": "small.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "sigma": 25, "calibration_images": 1},
        "passes": ["partial-depthwise"],
        "targets": {"mine.yaml": 1, "host-onnxruntime": 0},
        "precision": {"host-onnxruntime": "w8a8"},
        "search": {"latency": 1.0, "steps": 2, "patches": [1, 32]},
        "finetune": {"steps": 2, "patches": [1, 32], "record_every": 2},
        **changes,
    }
    (folder / "integers.yaml").write_text(yaml.safe_dump(config))
    return folder / "integers.yaml"
