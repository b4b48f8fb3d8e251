"""Patches: crops that are turned, mirrored and varied, by the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import picture
from PIL import Image

from graphopt.train.data import PatchSampler, to_planes


def test_patches() -> None:
    sampler = PatchSampler([picture(40, 50), picture(33, 60, 1)], 25, np.random.default_rng(0))
    noisy, clean = sampler.batch(30, 32)
    assert noisy.shape == clean.shape == (30, 3, 32, 32)
    assert noisy.dtype == clean.dtype == np.float32
    assert 0 <= clean.min() < clean.max() <= 1
    assert ((noisy - clean) * 255).std() == pytest.approx(25, rel=0.01)
    assert len({patch.tobytes() for patch in clean}) == 30


def test_patches_are_crops_turned_and_mirrored() -> None:
    image = picture(3, 3)
    sampler = PatchSampler([image], 0, np.random.default_rng(0))
    noisy, clean = sampler.batch(100, 3)
    np.testing.assert_array_equal(noisy, clean)
    turned = [np.rot90(image, turns) for turns in range(4)]
    allowed = {to_planes(form).tobytes() for turn in turned for form in (turn, turn[:, ::-1])}
    assert {patch.tobytes() for patch in clean} == allowed
    assert len(allowed) == 8


def test_images_smaller_than_the_patch_are_mirrored() -> None:
    image = picture(2, 3)
    _, clean = PatchSampler([image], 0, np.random.default_rng(0)).batch(4, 8)
    assert clean.shape == (4, 3, 8, 8)
    assert set(np.unique(clean)) == set(np.unique(to_planes(image)))


def test_patches_follow_the_seed(tmp_path: Path) -> None:
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.png")
    batches = [PatchSampler.of_folders([tmp_path], 25, seed).batch(2, 8)[0] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])


def test_varied_patches_change_colour_contrast_and_scale_and_stay_in_range(tmp_path: Path) -> None:
    Image.fromarray(picture(200, 300)).save(tmp_path / "a.png")
    sampler = PatchSampler.of_folders([tmp_path], 0, 0, varied=True)
    assert [image.shape for image in sampler.images] == [
        (200, 300, 3), (160, 240, 3), (128, 192, 3), (100, 150, 3),
    ]  # fmt: skip
    _, clean = sampler.batch(16, 32)
    assert clean.dtype == np.float32
    assert clean.min() >= 0
    assert clean.max() <= 1
    plain = PatchSampler([np.full((40, 40, 3), (50, 100, 200), np.uint8)], 0, np.random.default_rng(0), varied=True)
    _, flat = plain.batch(32, 8)
    means = flat.mean((2, 3))
    assert {int(np.argmax(row)) for row in means} == {0, 1, 2}, "channels take every place"
    assert np.ptp(np.sort(means, 1)[:, 2]) > 0.1, "and are shifted"


def test_plain_patches_are_crops() -> None:
    image = np.full((40, 40, 3), (50, 100, 200), np.uint8)
    _, clean = PatchSampler([image], 0, np.random.default_rng(0)).batch(4, 8)
    np.testing.assert_allclose(np.unique(clean), np.float32([50, 100, 200]) / 255, rtol=1e-6)
