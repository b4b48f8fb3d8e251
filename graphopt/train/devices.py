"""The device that `device: auto | cpu | cuda` names."""

from __future__ import annotations

import torch

from graphopt.errors import GraphoptError


def find_device(name: str) -> torch.device:
    """`auto`: the first GPU where torch finds one. Raises GraphoptError for `cuda` where it finds none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise GraphoptError("device: cuda, but torch finds no GPU; write device: cpu, or install torch with CUDA")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
