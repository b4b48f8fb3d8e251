"""SwinIR: its published size, and the mask of rolled windows."""

from __future__ import annotations

import pytest
import torch

from graphopt.models.swinir import roll_mask
from graphopt.models.zoo import build


def test_swinir_has_the_published_size_and_macs() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = build("swinir")
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(11.5e6, rel=0.005)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 64, device="meta"))
    assert counter.get_total_flops() / 2 / 64**2 * 256**2 == pytest.approx(800e9, rel=0.01)


def test_rolled_windows_attend_only_within_what_was_together() -> None:
    mask = roll_mask(16, 16, 8, 4)
    assert mask.shape == (4, 64, 64)
    assert (mask[0] == 0).all()
    assert (mask[3].reshape(8, 8, 8, 8)[0, 0] == -100).sum() == 48  # its quarter of the corner window stays
