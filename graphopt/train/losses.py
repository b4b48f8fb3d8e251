"""Losses of restoration and of distillation."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def psnr_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """(10 / ln 10) * mean over images of ln(MSE + 1e-8): minus the PSNR in dB (NAFNet, arXiv 2204.04676)."""
    error = (restored - clean).square().mean(dim=(1, 2, 3))
    return 10 / math.log(10) * torch.log(error + 1e-8).mean()
