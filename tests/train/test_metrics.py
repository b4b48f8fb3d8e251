"""PSNR and SSIM against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from patches import pair
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from graphopt.errors import GraphoptError
from graphopt.train.metrics import Quality, View, psnr, quality, ssim


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
