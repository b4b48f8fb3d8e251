"""Networks that several benchmarks share."""

from __future__ import annotations

from pathlib import Path

import onnx


def nafnet36(cache: Path, resolution: tuple[int, int]) -> onnx.ModelProto:
    """The published NAFNet of 36 blocks and width 32, every affine weight random (seed 0), as a canonical graph."""
    import torch

    from graphopt.models.checkpoints import save_checkpoint
    from graphopt.models.nafnet import NAFNet, NAFNetConfig
    from graphopt.models.source import load_source

    torch.manual_seed(0)
    made = NAFNet(NAFNetConfig())
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "norm" in name or name.endswith((".beta", ".gamma", ".bias")):
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.1)
    cache.mkdir(parents=True, exist_ok=True)
    save_checkpoint(made, cache / "nafnet36.safetensors")
    return load_source(cache / "nafnet36.safetensors", resolution, cache)[0]
