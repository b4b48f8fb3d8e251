"""Sensitivity: what each candidate costs in quality when it alone replaces `keep`, before any training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from lightning_fabric import Fabric

from graphopt.ir.space import KEEP, Space
from graphopt.nn.supernet import Supernet
from graphopt.progress import Progress
from graphopt.train.data import PatchSampler
from graphopt.train.processes import mean, own_batch

Sensitivity = Mapping[str, Mapping[str, float]]  # choice -> option -> dB lost
MOST = 10.0  # dB; a candidate that breaks the network alone counts as this


@torch.no_grad()
def measure(
    space: Space, supernet: Supernet, sampler: PatchSampler, patches: tuple[int, int], fabric: Fabric, report: Progress
) -> dict[str, dict[str, float]]:
    """PSNR (dB) lost on one batch by each candidate alone, as in LANA (Molchanov et al. 2022)."""
    noisy, clean = own_batch(fabric, sampler.batch(*patches))
    noisy = noisy.to(memory_format=torch.channels_last)
    everything_kept = dict.fromkeys(space.choices, KEEP)

    def error(selection: dict[str, str]) -> float:
        restored = supernet(noisy, selection=selection)
        assert isinstance(restored, torch.Tensor)
        return float(mean(fabric, (restored - clean).square().mean()))

    best = error(everything_kept)
    lost: dict[str, dict[str, float]] = {}
    for done, (name, choice) in enumerate(space.choices.items()):
        report(done / len(space.choices), f"sensitivity of {name}")
        lost[name] = {KEEP: 0.0}
        for option in choice.candidates:
            found = torch.tensor(error({**everything_kept, name: option}) / best)
            lost[name][option] = float((10 * found.log10()).nan_to_num(MOST, MOST).clamp(max=MOST))
    return lost


def varied(losses: Sensitivity, spread: float, random: np.random.Generator) -> dict[str, dict[str, float]]:
    """Every loss times exp(spread * N(0, 1))."""
    return {
        name: {option: value * math.exp(spread * random.normal()) for option, value in row.items()}
        for name, row in losses.items()
    }
