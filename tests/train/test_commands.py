"""Any published network trains with `graphopt pretrain`, becomes a checkpoint that says what it is, and restores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import Call
from PIL import Image

from graphopt.models.checkpoints import load_checkpoint
from graphopt.models.enerzai import Enerzai
from graphopt.models.zoo import build

TAIL = "images: [photographs]\noutput: w.safetensors\nsteps: 3\nsmall: [1, 16]\nlarge: [1, 16]\nthreads: 1\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photographs" / "a.png")


@pytest.mark.parametrize("recipe", ["", "branches: true", "joint: true", "joint: true\nbranches: true"])
def test_a_network_by_name_with_its_options(recipe: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(f"model: {{network: enerzai-2, widths: [4, 8], growth: 2}}\n{recipe}\n{TAIL}")
    status, out, err = call("pretrain", "train.yaml")
    assert (status, out.strip()) == (0, "weights: w.safetensors"), err
    loaded = load_checkpoint(tmp_path / "w.safetensors")
    assert isinstance(loaded, Enerzai)
    assert (loaded.config.widths, loaded.config.growth, loaded.config.dense_layers) == ((4, 8), 2, 3)
    torch.manual_seed(0)
    start = build("enerzai-2", {"widths": (4, 8), "growth": 2})
    assert not torch.equal(start.state_dict()["ending.weight"], loaded.state_dict()["ending.weight"])
    assert start.state_dict().keys() == loaded.state_dict().keys()
    assert call("evaluate", "--model", "w.safetensors", "--data", "photographs")[0] == 0


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{network: enerzay}", "unknown network 'enerzay'; did you mean 'enerzai'?"),
        ("{network: mier, widht: 3}", "network 'mier': unknown option 'widht'; did you mean 'width'?"),
        ("{network: mier, width: wide}", "network 'mier': option 'width'"),
        ("{network: feature-align}", "feature-align: expected a network for RGB images, found 4 channels"),
        ("{network: 3}", "key 'model.network'"),
        ("{options: {width: 3}}", "'options' belong to a 'network'; give its name"),
        ("{widht: 3}", "unknown key 'model.widht'; did you mean 'width'?"),
    ],
)
def test_mistakes(model: str, expected: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(f"model: {model}\n{TAIL}")
    status, out, err = call("pretrain", "train.yaml")
    assert (status, out) == (1, "")
    assert expected in err
    assert err.count("\n") == 1
    assert not (tmp_path / "w.safetensors").exists()


def test_a_trunk_that_is_smaller_than_the_image_cannot_be_trained_jointly(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(f"model: {{network: mier, width: 4, blocks: 1}}\njoint: true\n{TAIL}")
    status, _, err = call("pretrain", "train.yaml")
    assert status == 1
    assert "error: joint training: convolution 'blocks.0.conv2' reads features of (4, 4); expected the size of" in err
