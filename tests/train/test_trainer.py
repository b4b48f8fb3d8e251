"""The trainer: accumulation, workers and precision change no more than they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_training import furthest, trained


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:64, :64]
    plane = 127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    Image.fromarray(np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)).save(folder / "a.png")
    return folder


def test_accumulated_gradients_are_those_of_the_whole_batch(photographs: Path, tmp_path: Path) -> None:
    expected = trained(photographs, tmp_path, "whole")
    assert furthest(trained(photographs, tmp_path, "workers", workers=1), expected) == 0
    assert furthest(trained(photographs, tmp_path, "parts", accumulate=2), expected) < 2e-5
    assert furthest(trained(photographs, tmp_path, "other", seed=5), expected) > 1e-3  # the tolerance tells


def test_bf16_trains_to_nearly_the_same_weights_in_fp32(photographs: Path, tmp_path: Path) -> None:
    expected, found = trained(photographs, tmp_path, "a"), trained(photographs, tmp_path, "b", precision="bf16")
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert 0 < furthest(found, expected) < 2e-2
