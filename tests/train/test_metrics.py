"""PSNR, SSIM, the loss and the learning rate, against scikit-image and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from graphopt.errors import GraphoptError
from graphopt.train.losses import LOSSES, SCALE_WEIGHTS, charbonnier, feature_matching, ms_ssim, psnr_loss, weighted
from graphopt.train.metrics import Quality, View, psnr, quality, ssim
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


@pytest.mark.parametrize("view", [View("y"), View("rgb", 4), View("y", 3)])
def test_luma_and_borders_agree_with_scikit_image(view: View) -> None:
    noisy, clean = pair(5)
    b = view.border
    cut = [np.clip(i, 0, 1)[:, b : i.shape[1] - b, b : i.shape[2] - b].transpose(1, 2, 0) for i in (noisy, clean)]
    seen = [rgb2ycbcr(image)[..., :1] / 255 for image in cut] if view.channel == "y" else cut
    expected = peak_signal_noise_ratio(seen[1], seen[0], data_range=1)
    assert psnr(noisy, clean, view) == pytest.approx(expected, abs=1e-4)
    similarity = structural_similarity(
        *seen, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(noisy, clean, view) == pytest.approx(similarity, abs=1e-4)
    assert abs(psnr(noisy, clean, view) - psnr(noisy, clean)) > 1e-3
    assert quality([(noisy, clean)], lambda image: image, view).psnr == psnr(noisy, clean, view)


def test_a_border_that_leaves_nothing_is_one_message() -> None:
    noisy, clean = pair(0)
    with pytest.raises(GraphoptError, match="a border of 17 pixels leaves nothing of an image of 40x33"):
        psnr(noisy, clean, View("rgb", 17))
    with pytest.raises(GraphoptError, match="found one of 20x13|found one of 16x9"):
        ssim(noisy, clean, View("rgb", 12))


def batch(size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    noisy, clean = zip(*(pair(seed + i, (size, size)) for i in range(2)), strict=True)
    return torch.from_numpy(np.stack(noisy)), torch.from_numpy(np.stack(clean))


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
