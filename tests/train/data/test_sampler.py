"""Photographs: folders, broken files, noise of the right strength, and patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.errors import GraphoptError
from graphopt.train.data import PatchSampler, add_noise, list_images, read_image, to_planes, write_image


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_images_go_out_and_come_back(tmp_path: Path) -> None:
    pixels = picture(5, 7)
    planes = to_planes(pixels)
    assert planes.shape == (3, 5, 7)
    assert planes.dtype == np.float32
    assert planes[1, 2, 3] == np.float32(pixels[2, 3, 1]) / np.float32(255)
    write_image(tmp_path / "new" / "a.png", planes)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), pixels)


def test_values_outside_the_range_are_clipped(tmp_path: Path) -> None:
    image = np.full((3, 2, 2), 0.5, np.float32)
    image[0], image[1] = -0.2, 1.7
    write_image(tmp_path / "a.png", image)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_every_kind_of_image_becomes_rgb(mode: str, tmp_path: Path) -> None:
    Image.fromarray(picture(4, 6)).convert(mode).save(tmp_path / "a.tiff")
    found = read_image(tmp_path / "a.tiff")
    assert found.shape == (4, 6, 3)
    assert found.dtype == np.uint8


def test_a_photograph_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(picture(4, 6))
    notes = Image.Exif()
    notes[0x0112] = 6  # orientation: turn clockwise to see it upright
    image.save(tmp_path / "a.png", exif=notes)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(picture(4, 6), -1))


def test_missing_and_broken_images(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"image .*gone\.png does not exist"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(GraphoptError, match=r"text\.png cannot be read"):
        read_image(tmp_path / "text.png")
    write_image(tmp_path / "whole.png", to_planes(picture(40, 40)))
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphoptError, match=r"half\.png cannot be read"):
        read_image(tmp_path / "half.png")
    with pytest.raises(GraphoptError, match="cannot be read"):
        read_image(tmp_path)


def test_an_image_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphoptError, match=r"image .*a\.png cannot be written"):
        write_image(tmp_path / "file" / "a.png", np.zeros((3, 2, 2), np.float32))


def test_folders(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.jpg", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(2, 2)).save(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("")
    found = list_images([tmp_path / "b", tmp_path / "a"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b/1.jpg", "b/2.PNG", "a/3.png"]


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="image folder .*gone does not exist"):
        list_images([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").touch()
    with pytest.raises(GraphoptError, match="image folder .*empty holds no images"):
        list_images([tmp_path / "empty"])


@pytest.mark.parametrize("sigma", [5.0, 25.0, 50.0])
def test_noise_has_the_sigma_asked_for_and_no_bias(sigma: float) -> None:
    clean = np.full((3, 200, 200), 0.5, np.float32)
    noise = (add_noise(clean, sigma, (1, 2)) - clean) * 255
    assert noise.std() == pytest.approx(sigma, rel=0.01)
    assert abs(noise.mean()) < sigma * 0.015
    assert abs(np.corrcoef(noise[0, :, :-1].ravel(), noise[0, :, 1:].ravel())[0, 1]) < 0.03  # white


def test_noise_follows_its_seed_and_is_not_clipped() -> None:
    clean = np.zeros((3, 16, 16), np.float32)
    np.testing.assert_array_equal(add_noise(clean, 25, (0, 1)), add_noise(clean, 25, (0, 1)))
    assert not np.array_equal(add_noise(clean, 25, (0, 1)), add_noise(clean, 25, (0, 2)))
    assert not np.array_equal(add_noise(clean, 25, (0, 1)), add_noise(clean, 25, (1, 1)))
    assert add_noise(clean, 25, (0, 1)).min() < 0
    np.testing.assert_array_equal(add_noise(clean, 0, (0, 1)), clean)


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
