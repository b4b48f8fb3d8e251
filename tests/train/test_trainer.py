"""The trainer: accumulation, workers and precision change no more than they must."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_training import furthest, scene, trained


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene(tmp_path_factory.mktemp("photographs"))


def test_accumulated_gradients_are_those_of_the_whole_batch(photographs: Path, tmp_path: Path) -> None:
    expected = trained(photographs, tmp_path, "whole")
    assert furthest(trained(photographs, tmp_path, "workers", workers=1), expected) == 0
    assert furthest(trained(photographs, tmp_path, "parts", accumulate=2), expected) < 2e-5
    assert furthest(trained(photographs, tmp_path, "other", seed=5), expected) > 1e-3  # the tolerance tells


def test_bf16_trains_to_nearly_the_same_weights_in_fp32(photographs: Path, tmp_path: Path) -> None:
    expected, found = trained(photographs, tmp_path, "a"), trained(photographs, tmp_path, "b", precision="bf16")
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert 0 < furthest(found, expected) < 2e-2
