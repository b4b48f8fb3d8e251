"""Folders of noisy images and their clean partners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import photographs, picture, save, source

from graphopt.errors import GraphoptError
from graphopt.train.data import Gaussian, PatchSampler, pairs_of, to_planes  # fmt: skip


def test_paired_folders(pairs: dict[str, str]) -> None:
    found = photographs(**pairs)
    assert [photograph.name for photograph in found] == ["0.png", "1.png", "2.png"]
    for i, (noisy, clean) in enumerate(pairs_of(found, Gaussian(50, 50))):  # the noise is for clean images alone
        np.testing.assert_array_equal(noisy, to_planes(picture(20, 30, i)))
        np.testing.assert_array_equal(clean, to_planes(picture(20, 30, 10 + i)))


def test_patches_of_a_pair_are_cut_turned_and_mirrored_alike(pairs: dict[str, str]) -> None:
    rows, columns = (axis.astype(np.uint8) for axis in np.mgrid[:20, :30])
    for i in range(3):
        where = np.stack([rows, columns, rows], -1)
        save(Path(pairs["clean"]) / f"{i}.bmp", where)
        save(Path(pairs["noisy"]) / f"{i}.png", where + 100)
    sampler = PatchSampler.of_data(source(**pairs), 0)
    assert sampler.varied  # which is for clean images alone
    noisy, clean = sampler.batch(40, 8)
    np.testing.assert_allclose(noisy - clean, 100 / 255, atol=1e-6)
    assert len({patch.tobytes() for patch in clean}) > 30
    enlarged = sampler.batch(2, 40)
    np.testing.assert_allclose(enlarged[0] - enlarged[1], 100 / 255, atol=1e-6)


def test_images_without_a_partner(pairs: dict[str, str]) -> None:
    save(Path(pairs["noisy"]) / "extra.png", picture(4, 4))
    with pytest.raises(GraphoptError, match=r"image .*extra\.png has no clean partner: .*clean holds no image named"):
        photographs(**pairs)
    (Path(pairs["noisy"]) / "extra.png").unlink()
    (Path(pairs["noisy"]) / "1.png").unlink()
    with pytest.raises(GraphoptError, match=r"image .*1\.bmp has no noisy partner"):
        photographs(**pairs)


def test_partners_of_another_size(pairs: dict[str, str]) -> None:
    save(Path(pairs["noisy"]) / "2.png", picture(21, 30))
    with pytest.raises(GraphoptError, match=r"2\.png: the noisy image has another size .*\(21x30 beside 20x30\)"):
        list(pairs_of(photographs(**pairs), Gaussian(0, 0)))
