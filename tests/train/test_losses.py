"""Losses against scikit-image, scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from patches import pair
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from graphopt.errors import GraphoptError
from graphopt.train.losses import LOSSES, SCALE_WEIGHTS, charbonnier, feature_matching, ms_ssim, psnr_loss, weighted


def batch(size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    noisy, clean = zip(*(pair(seed + i, (size, size)) for i in range(2)), strict=True)
    return torch.from_numpy(np.stack(noisy)), torch.from_numpy(np.stack(clean))


def test_the_loss_is_minus_the_mean_psnr() -> None:
    clean = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    restored = clean + torch.tensor([0.02, 0.05, 0.1, 0.2]).view(4, 1, 1, 1) * noise
    expected = [10 * np.log10(1 / float((r - c).square().mean())) for r, c in zip(restored, clean, strict=True)]
    assert float(psnr_loss(restored, clean)) == pytest.approx(-np.mean(expected), abs=2e-4)
    assert float(psnr_loss(clean, clean)) == pytest.approx(-80, abs=1e-3)  # the 1e-8 that keeps it finite


def test_pixel_losses_by_hand() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    off = clean + torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)
    assert float(LOSSES["l1"](off, clean)) == pytest.approx(0.2)
    assert float(LOSSES["l2"](off, clean)) == pytest.approx(0.05)
    assert float(charbonnier(off, clean)) == pytest.approx((math.sqrt(0.01 + 1e-6) + math.sqrt(0.09 + 1e-6)) / 2)
    assert float(charbonnier(clean, clean)) == pytest.approx(1e-3)
    mixed = weighted({"l1": 1, "l2": 3, "teacher": 7, "psnr": 0})
    assert float(mixed(off, clean)) == pytest.approx((0.2 + 3 * 0.05) / 4)


def test_ms_ssim_of_a_small_patch_is_ssim() -> None:
    noisy, clean = batch(20)
    expected = [
        structural_similarity(
            n, c, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for n, c in zip(noisy.numpy(), clean.numpy(), strict=True)
    ]
    np.testing.assert_allclose(ms_ssim(noisy, clean).numpy(), expected, rtol=0, atol=1e-4)


def reference_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """By scipy, in fp64, with windows that lie inside the image."""
    result = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):

        def blur(x: np.ndarray) -> np.ndarray:
            return gaussian_filter(x, (0, 1.5, 1.5), radius=5)[:, 5:-5, 5:-5]

        ma, mb = blur(a), blur(b)
        contrast = (2 * (blur(a * b) - ma * mb) + 9e-4) / (blur(a * a) - ma**2 + blur(b * b) - mb**2 + 9e-4)
        luminance = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
        result *= (np.mean(contrast * luminance) if scale == 4 else np.mean(contrast)) ** weight
        a, b = (x.reshape(3, x.shape[1] // 2, 2, x.shape[2] // 2, 2).mean((2, 4)) for x in (a, b))
    return float(result)


def test_ms_ssim_of_five_scales() -> None:
    noisy, clean = batch(192)
    expected = [reference_ms_ssim(n, c) for n, c in zip(noisy.double().numpy(), clean.double().numpy(), strict=True)]
    np.testing.assert_allclose(ms_ssim(noisy, clean).numpy(), expected, rtol=0, atol=1e-5)
    assert 0.5 < expected[0] < 0.99
    assert float(LOSSES["ms-ssim"](clean, clean)) == pytest.approx(0, abs=1e-6)


def test_ms_ssim_has_a_gradient_where_images_have_nothing_in_common() -> None:
    clean = batch(48)[1]
    restored = (1 - clean).requires_grad_()
    LOSSES["ms-ssim"](restored, clean).backward()
    assert restored.grad is not None
    assert torch.isfinite(restored.grad).all()
    with pytest.raises(GraphoptError, match="11x11 or more, found 8x8; enlarge 'patches'"):
        ms_ssim(clean[..., :8, :8], clean[..., :8, :8])


def test_feature_matching_weighs_features_alike() -> None:
    teacher = {"a": torch.full((1, 2, 3, 3), 100.0), "b": torch.full((1, 4, 2, 2), -0.5)}
    student = {"a": teacher["a"] * 1.1, "b": teacher["b"] * 0.7, "c": torch.zeros(1)}
    assert float(feature_matching(student, teacher)) == pytest.approx((0.1 + 0.3) / 2, rel=1e-5)
