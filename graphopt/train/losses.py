"""Losses of restoration and of distillation. Each takes (N, C, H, W) in [0, 1] and is a mean over images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphopt.errors import GraphoptError

Loss = Callable[[Tensor, Tensor], Tensor]


def psnr_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """(10 / ln 10) * mean over images of ln(MSE + 1e-8): minus the PSNR in dB (NAFNet, arXiv 2204.04676)."""
    error = (restored - clean).square().mean(dim=(1, 2, 3))
    return 10 / math.log(10) * torch.log(error + 1e-8).mean()


def charbonnier(restored: Tensor, clean: Tensor) -> Tensor:
    """mean sqrt(d^2 + 1e-6): L1 with a round bottom (Charbonnier et al. 1994; eps 1e-3 as in LapSRN and MIRNet)."""
    return ((restored - clean).square() + 1e-6).sqrt().mean()


WINDOW = 11
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, from the finest scale to the coarsest


def ms_ssim(restored: Tensor, clean: Tensor) -> Tensor:
    """Multi-scale SSIM of each image, (N,): prod_j cs_j^w_j * ssim_last^w_last (Wang, Simoncelli and Bovik 2003).

    Five scales need 176 pixels; a smaller image has as many as keep 11 pixels, with their weights brought to sum 1.
    """
    scales = min(len(SCALE_WEIGHTS), 1 + int(math.log2(max(1, min(clean.shape[2:]) / WINDOW))))
    if min(clean.shape[2:]) < WINDOW:
        size = "x".join(str(extent) for extent in clean.shape[2:])
        raise GraphoptError(f"MS-SSIM needs patches of {WINDOW}x{WINDOW} or more, found {size}; enlarge 'patches'")
    total, result = sum(SCALE_WEIGHTS[:scales]), torch.ones((), device=clean.device)
    for scale in range(scales):
        similarity, contrast = _ssim_parts(restored, clean)
        last = scale == scales - 1
        term = (similarity if last else contrast).clamp_min(1e-4)  # a power of what is negative is NaN
        result = result * term ** (SCALE_WEIGHTS[scale] / total)
        if not last:
            restored, clean = F.avg_pool2d(restored, 2), F.avg_pool2d(clean, 2)
    return result


def _ssim_parts(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term of each image, (N,), over windows that lie inside the image."""
    position = torch.arange(WINDOW, dtype=a.dtype, device=a.device) - WINDOW // 2
    line = torch.exp(-(position**2) / (2 * 1.5**2))
    line = (line / line.sum()).expand(a.shape[1], 1, 1, WINDOW)

    def blur(x: Tensor) -> Tensor:
        rows = F.conv2d(x, line, groups=x.shape[1])
        return F.conv2d(rows, line.transpose(2, 3), groups=x.shape[1])

    mean_a, mean_b = blur(a), blur(b)
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    contrast = (2 * (blur(a * b) - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return (luminance * contrast).mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def ms_ssim_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """1 - MS-SSIM."""
    return 1 - ms_ssim(restored, clean).mean()


LOSSES: Mapping[str, Loss] = {
    "psnr": psnr_loss,
    "charbonnier": charbonnier,
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "ms-ssim": ms_ssim_loss,
}


def weighted(weights: Mapping[Any, float]) -> Loss:
    """The weighted mean of the losses that `weights` names; names that are not in LOSSES are passed over."""
    used = [(LOSSES[name], weight) for name, weight in weights.items() if name in LOSSES and weight > 0]
    total = sum(weight for _, weight in used)

    def loss(restored: Tensor, clean: Tensor) -> Tensor:
        return torch.stack([weight / total * term(restored, clean) for term, weight in used]).sum()

    return loss


def feature_matching(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """mean over features of |s - t| / |t|: each counts alike, however large it is (after arXiv 2103.01524)."""
    terms = [(student[name] - t).abs().mean() / t.abs().mean().clamp_min(1e-6) for name, t in teacher.items()]
    return torch.stack(terms).mean()
