"""The folders and validation blocks of SIDD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import photographs, picture, save
from scipy.io import savemat

from graphopt.errors import GraphoptError


@pytest.fixture
def sidd(tmp_path: Path) -> Path:
    for i, scene in enumerate(("0001_001_S6", "0002_001_S6")):
        for kind, seed in (("NOISY", 0), ("GT", 50)):
            save(tmp_path / "SIDD" / scene / f"000{i}_{kind}_SRGB_010.PNG", picture(12, 14, seed + i))
    return tmp_path / "SIDD"


def blocks(folder: Path, shape: tuple[int, ...] = (2, 3, 16, 16, 3), **changes: Any) -> None:
    for seed, name in enumerate(("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb")):
        content = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        savemat(folder / f"{name}.mat", {name: changes.get(name, content)})


def test_scenes_of_sidd(sidd: Path) -> None:
    found = photographs(sidd=str(sidd))
    assert [photograph.name for photograph in found] == ["0000_NOISY_SRGB_010.PNG", "0001_NOISY_SRGB_010.PNG"]
    clean, noisy = found[1].read()
    np.testing.assert_array_equal(clean, picture(12, 14, 51))
    np.testing.assert_array_equal(noisy, picture(12, 14, 1))
    (sidd / "0002_001_S6" / "0001_GT_SRGB_010.PNG").unlink()
    with pytest.raises(GraphoptError, match=r"0001_NOISY_SRGB_010\.PNG has no clean partner: 0001_GT_SRGB_010\.PNG"):
        photographs(sidd=str(sidd))


def test_validation_blocks_of_sidd(sidd: Path, tmp_path: Path) -> None:
    blocks(sidd)
    found = photographs(judged=True, sidd=str(sidd))
    assert [found[0].name, found[-1].name, len(found)] == ["image 00 block 00", "image 01 block 02", 6]
    clean, noisy = found[4].read()
    np.testing.assert_array_equal(noisy, np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)[1, 1])
    np.testing.assert_array_equal(clean, np.random.default_rng(1).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)[1, 1])
    assert len(photographs(sidd=str(sidd))) == 2, "scenes are to train on"
    (tmp_path / "blocks").mkdir()
    blocks(tmp_path / "blocks")
    assert len(photographs(sidd=str(tmp_path / "blocks"))) == 6


def test_mistakes_in_sidd(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"SIDD folder .*gone does not exist"):
        photographs(sidd=str(tmp_path / "gone"))
    with pytest.raises(GraphoptError, match=r"holds neither <scene>/\*_NOISY_SRGB_\*\.PNG .* nor ValidationNoisyB"):
        photographs(sidd=str(tmp_path))
    blocks(tmp_path, (6, 16, 16, 3))
    with pytest.raises(
        GraphoptError, match=r"expected the variable .*, uint8 \(40, .*found uint8 of shape \(6, 16, 16"
    ):
        photographs(sidd=str(tmp_path))
    blocks(tmp_path, ValidationNoisyBlocksSrgb=np.zeros((2, 2, 16, 16, 3), np.uint8))
    with pytest.raises(GraphoptError, match=r"differ in shape: \(2, 2, 16, 16, 3\) and \(2, 3, 16, 16, 3\)"):
        photographs(sidd=str(tmp_path))
    savemat(tmp_path / "ValidationNoisyBlocksSrgb.mat", {"other": 1})
    with pytest.raises(GraphoptError, match="found no such variable"):
        photographs(sidd=str(tmp_path))
    (tmp_path / "ValidationNoisyBlocksSrgb.mat").write_text("no matlab")
    with pytest.raises(GraphoptError, match=r"ValidationNoisyBlocksSrgb\.mat cannot be read"):
        photographs(sidd=str(tmp_path))
    (tmp_path / "ValidationNoisyBlocksSrgb.mat").unlink()
    with pytest.raises(GraphoptError, match=r"ValidationNoisyBlocksSrgb\.mat does not exist; it belongs beside"):
        photographs(sidd=str(tmp_path))
