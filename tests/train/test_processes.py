"""Two processes train what one does with the batches of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from small_training import content, furthest, scene, trained
from torchrun import torchrun

from graphopt.models.checkpoints import load_checkpoint


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene(tmp_path_factory.mktemp("photographs"))


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
