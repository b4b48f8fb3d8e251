"""Loaders, accumulation, precision, and several processes: what must not change the result does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torchrun import torchrun

from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import load_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.train.data import PatchSampler
from graphopt.train.loader import Batches, Share
from graphopt.train.pretrain import pretrain

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"width": 4, "encoder_blocks": [1], "middle_blocks": 1, "decoder_blocks": [1]}


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


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:64, :64]
    plane = 127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    Image.fromarray(np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)).save(folder / "a.png")
    return folder


def content(photographs: Path, output: Path, **changes: Any) -> dict[str, Any]:
    fixed = {
        "model": TINY, "images": [str(photographs)], "output": str(output), "steps": 12, "small": [4, 16],
        "large": [4, 24], "learning_rate": 1e-3, "ema": 0.8, "save_every": 5, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return {**fixed, **changes}


def trained(photographs: Path, folder: Path, name: str, **changes: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = NAFNet(NAFNetConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in TINY.items()}))
    config = PretrainConfig.model_validate(content(photographs, folder / "w", **changes))
    return pretrain(network, config, folder / f"{name}.pt", lambda share, words: None).state_dict()


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[key] - b[key]).abs().max()) for key in a)


def test_accumulated_gradients_are_those_of_the_whole_batch(photographs: Path, tmp_path: Path) -> None:
    expected = trained(photographs, tmp_path, "whole")
    assert furthest(trained(photographs, tmp_path, "workers", workers=1), expected) == 0
    assert furthest(trained(photographs, tmp_path, "parts", accumulate=2), expected) < 2e-5
    assert furthest(trained(photographs, tmp_path, "other", seed=5), expected) > 1e-3  # the tolerance tells


def test_bf16_trains_to_nearly_the_same_weights_in_fp32(photographs: Path, tmp_path: Path) -> None:
    expected, found = trained(photographs, tmp_path, "a"), trained(photographs, tmp_path, "b", precision="bf16")
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert 0 < furthest(found, expected) < 2e-2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_message(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="device: cuda, but torch finds no GPU; write device: cpu"):
        trained(photographs, tmp_path, "gpu", device="cuda")


def test_two_processes_train_what_one_does_with_the_batches_of_both(photographs: Path, tmp_path: Path) -> None:
    """Tolerance 2e-5 on weights: only the order of sums differs. The checkpoint of two goes on in one."""
    expected = trained(photographs, tmp_path, "one", accumulate=1)
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(content(photographs, tmp_path / "two.safetensors", accumulate=2)))
    done = torchrun("pretrain", tmp_path / "two.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights:") == 1, "one process speaks"
    found = load_checkpoint(tmp_path / "two.safetensors").state_dict()
    assert furthest(found, expected) < 2e-5
    assert torch.load(tmp_path / "two.checkpoint.pt", weights_only=True)["step"] == 12
    shutil.copy(tmp_path / "two.checkpoint.pt", tmp_path / "more.pt")
    assert furthest(trained(photographs, tmp_path, "more"), found) == 0
    assert furthest(trained(photographs, tmp_path, "half", small=[2, 16], large=[2, 24]), expected) > 1e-3
