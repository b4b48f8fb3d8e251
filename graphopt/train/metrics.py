"""PSNR and SSIM as the denoising literature reports them: on RGB or on luma, range [0, 1], averaged over images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class View:
    """What is compared: all channels or luma (`y`), without `border` pixels at each edge."""

    channel: Literal["rgb", "y"] = "rgb"
    border: int = 0

    def __call__(self, image: Planes) -> Planes:
        """`image` is (3, H, W) in [0, 1] and is clipped; the result is (3 or 1, H - 2 border, W - 2 border)."""
        height, width = image.shape[1:]
        if min(height, width) <= 2 * self.border:
            raise GraphoptError(f"a border of {self.border} pixels leaves nothing of an image of {height}x{width}")
        seen = np.clip(image[:, self.border : height - self.border, self.border : width - self.border], 0, 1)
        return luma(seen) if self.channel == "y" else seen


FULL = View()


def luma(image: Planes) -> Planes:
    """Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255, BT.601 as in MATLAB's rgb2ycbcr: (3, H, W) -> (1, H, W)."""
    weights = np.array([65.481, 128.553, 24.966], np.float32)
    return ((np.tensordot(weights, image, 1) + np.float32(16)) / np.float32(255))[None]


def psnr(restored: Planes, clean: Planes, view: View = FULL) -> float:
    """Peak signal-to-noise ratio in dB of (3, H, W) images in [0, 1]; `restored` is clipped first."""
    error = float(np.mean((view(restored).astype(np.float64) - view(clean)) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(restored: Planes, clean: Planes, view: View = FULL) -> float:
    """Structural similarity with the Gaussian window of Wang et al. 2004 (sigma 1.5, 11x11), mean over channels."""
    from skimage.metrics import structural_similarity

    seen = view(clean)
    if min(seen.shape[1:]) < SSIM_WINDOW:
        size = "x".join(map(str, seen.shape[1:]))
        raise GraphoptError(f"SSIM needs images of {SSIM_WINDOW}x{SSIM_WINDOW} or more, found one of {size}")
    return float(
        structural_similarity(
            view(restored), seen, data_range=1.0, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


def quality(pairs: Iterable[tuple[Planes, Planes]], restore: Callable[[Planes], Planes], view: View = FULL) -> Quality:
    """Mean quality of `restore(noisy)` against clean, over (noisy, clean) pairs of (3, H, W) images."""
    scores = []
    for noisy, clean in pairs:
        restored = restore(noisy)
        scores.append((psnr(restored, clean, view), ssim(restored, clean, view)))
    mean = np.mean(scores, axis=0)
    return Quality(psnr=float(mean[0]), ssim=float(mean[1]))
