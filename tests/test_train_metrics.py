"""PSNR, SSIM, the loss and the learning rate, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from graphopt.errors import GraphoptError
from graphopt.train.losses import psnr_loss
from graphopt.train.metrics import Quality, psnr, quality, ssim
from graphopt.train.schedule import Budget, cosine


def pair(seed: int, size: tuple[int, int] = (40, 33)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]] / 9
    clean = np.stack([0.5 + 0.4 * np.sin(rows + shift) * np.cos(columns) for shift in range(3)]).astype(np.float32)
    return (clean + 0.1 * random.standard_normal(clean.shape, dtype=np.float32)).astype(np.float32), clean


@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_image(seed: int) -> None:
    noisy, clean = pair(seed)
    clipped = np.clip(noisy, 0, 1)
    assert psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, clipped, data_range=1), abs=1e-4)
    by_plane = [
        structural_similarity(
            c, n, data_range=1, gaussian_weights=True, sigma=1.5, win_size=11, use_sample_covariance=False
        )
        for c, n in zip(clean, clipped, strict=True)
    ]
    assert ssim(noisy, clean) == pytest.approx(float(np.mean(by_plane)), abs=1e-4)
    assert 0.1 < ssim(noisy, clean) < 0.95


def test_psnr_by_hand() -> None:
    clean = np.full((3, 12, 12), 0.5, np.float32)
    assert psnr(clean + 0.1, clean) == pytest.approx(20, abs=1e-4)
    assert psnr(clean, clean) == float("inf")
    assert ssim(clean, clean) == pytest.approx(1)
    assert psnr(np.full_like(clean, 9), np.ones_like(clean)) == float("inf")  # clipped first


def test_images_that_are_too_small_for_the_ssim_window() -> None:
    small = np.zeros((3, 10, 40), np.float32)
    with pytest.raises(GraphoptError, match="11x11 or more, found one of 10x40"):
        ssim(small, small)
    assert ssim(np.zeros((3, 11, 11), np.float32), np.zeros((3, 11, 11), np.float32)) == pytest.approx(1)


def test_quality_is_the_mean_over_images() -> None:
    pairs = [pair(0), pair(1, (20, 20))]
    found = quality(pairs, lambda image: image)
    assert found.psnr == pytest.approx(np.mean([psnr(*p) for p in pairs]), abs=1e-9)
    assert found.ssim == pytest.approx(np.mean([ssim(*p) for p in pairs]), abs=1e-9)
    assert quality(pairs[:1], lambda image: image * 0 + 0.5) == Quality(
        psnr(np.full_like(pairs[0][1], 0.5), pairs[0][1]), ssim(np.full_like(pairs[0][1], 0.5), pairs[0][1])
    )


def test_the_loss_is_minus_the_mean_psnr() -> None:
    clean = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    restored = clean + torch.tensor([0.02, 0.05, 0.1, 0.2]).view(4, 1, 1, 1) * noise
    expected = [10 * np.log10(1 / float((r - c).square().mean())) for r, c in zip(restored, clean, strict=True)]
    assert float(psnr_loss(restored, clean)) == pytest.approx(-np.mean(expected), abs=2e-4)
    assert float(psnr_loss(clean, clean)) == pytest.approx(-80, abs=1e-3)  # the 1e-8 that keeps it finite


def test_cosine() -> None:
    assert cosine(0, 1e-3) == pytest.approx(1e-3)
    assert cosine(0.5, 1e-3) == pytest.approx((1e-3 + 1e-7) / 2)
    assert cosine(1, 1e-3) == pytest.approx(1e-7)
    assert cosine(0.25, 1, end=0) == pytest.approx((1 + np.cos(np.pi / 4)) / 2)
    assert [cosine(share, 1, 0, warm_up=0.2) for share in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [Budget(steps=4).progress(step) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    now = 100.0
    monkeypatch.setattr("graphopt.train.schedule.time.monotonic", lambda: now)
    budget = Budget(minutes=2, _started=100.0)
    budget.spent = 30
    assert budget.progress(7) == pytest.approx(0.25)
    now = 145.0
    assert budget.seconds() == pytest.approx(75)
    assert budget.progress(7) == pytest.approx(75 / 120)
    now = 1000.0
    assert budget.progress(7) == 1
