"""Loaders: the patches of a step depend on the seed and the step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphopt.errors import GraphoptError
from graphopt.train.data import PatchSampler
from graphopt.train.loader import Batches, Share

CPU = torch.device("cpu")


def sampler() -> PatchSampler:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return PatchSampler([image], 25, np.random.default_rng(0), varied=True)


def whole(share: Share, step: int, workers: int = 0) -> torch.Tensor:
    parts = Batches(sampler(), 3, share, workers, CPU).of(step, (8, 16))
    return torch.cat([noisy for noisy, _ in parts])


def test_patches_depend_on_seed_and_step_alone() -> None:
    batches = Batches(sampler(), 3, Share(), 0, CPU)
    noisy, clean = batches.of(0, (8, 16))[0]
    assert noisy.shape == clean.shape == (8, 3, 16, 16)
    assert noisy.is_contiguous(memory_format=torch.channels_last)
    second = batches.of(1, (8, 16))[0][0]
    assert len({patch.numpy().tobytes() for patch in (*noisy, *second)}) == 16
    torch.testing.assert_close(whole(Share(), 1), second, rtol=0, atol=0)  # a loader that starts there
    torch.testing.assert_close(batches.of(0, (8, 16))[0][0], noisy, rtol=0, atol=0)  # and back
    assert batches.of(1, (4, 24))[0][0].shape == (4, 3, 24, 24)
    assert not torch.equal(Batches(sampler(), 4, Share(), 0, CPU).of(0, (8, 16))[0][0], noisy)


def test_workers_parts_and_processes_see_the_same_patches() -> None:
    expected = whole(Share(), 5)
    torch.testing.assert_close(whole(Share(), 5, workers=2), expected, rtol=0, atol=0)
    torch.testing.assert_close(whole(Share(4), 5), expected, rtol=0, atol=0)
    shared = [whole(Share(2, rank, 2), 5) for rank in range(2)]
    assert [part.shape[0] for part in shared] == [4, 4]
    torch.testing.assert_close(torch.cat(shared), expected, rtol=0, atol=0)
    with pytest.raises(GraphoptError, match="8 patches cannot be shared by 2 processes in 3 parts each"):
        whole(Share(3, 0, 2), 0)
