"""PSNR and SSIM as the denoising literature reports them: RGB, range [0, 1], averaged over images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.errors import GraphoptError

Planes = NDArray[np.float32]
SSIM_WINDOW = 11


@dataclass(frozen=True)
class Quality:
    """Mean PSNR (dB) and mean SSIM over some images."""

    psnr: float
    ssim: float


def psnr(restored: Planes, clean: Planes) -> float:
    """Peak signal-to-noise ratio in dB of (3, H, W) images in [0, 1]; `restored` is clipped first."""
    error = float(np.mean((np.clip(restored, 0, 1).astype(np.float64) - clean) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(restored: Planes, clean: Planes) -> float:
    """Structural similarity with the Gaussian window of Wang et al. 2004 (sigma 1.5, 11x11), mean over RGB."""
    from skimage.metrics import structural_similarity

    if min(clean.shape[1:]) < SSIM_WINDOW:
        size = "x".join(map(str, clean.shape[1:]))
        raise GraphoptError(f"SSIM needs images of {SSIM_WINDOW}x{SSIM_WINDOW} or more, found one of {size}")
    return float(
        structural_similarity(
            np.clip(restored, 0, 1), clean, data_range=1.0, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


def quality(pairs: Iterable[tuple[Planes, Planes]], restore: Callable[[Planes], Planes]) -> Quality:
    """Mean quality of `restore(noisy)` against clean, over (noisy, clean) pairs of (3, H, W) images."""
    scores = []
    for noisy, clean in pairs:
        restored = restore(noisy)
        scores.append((psnr(restored, clean), ssim(restored, clean)))
    mean = np.mean(scores, axis=0)
    return Quality(psnr=float(mean[0]), ssim=float(mean[1]))
