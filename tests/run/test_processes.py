"""A run that two processes share finds what one alone finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_pipeline import fill, silent, write_config
from torchrun import torchrun

from graphopt.run.pipeline import open_pipeline

CHANGES: dict[str, Any] = {
    "passes": ["bounded-gate", "affine-norm", "static-attention", "skip-feed-forward", "fold-affine"],
    "targets": {"sm8650-adreno750": 1},
    "search": {"latency": 0.8, "warm_up_steps": 2, "steps": 14, "patches": [4, 32], "record_every": 2, "pareto": [0.9],
               "baselines": ["entropy-sites", "proxyless", "evolution"], "evaluations": 6},
    "finetune": {"steps": 4, "patches": [4, 32], "record_every": 2, "losses": {"psnr": 1, "features": 0.5}},
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def alone(home: Path) -> Path:
    open_pipeline(write_config(home, **CHANGES), home / "alone", home / "cache", silent).run()
    return home / "alone"


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def furthest(first: Path, second: Path) -> float:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def apart(first: Path, second: Path) -> float:
    """The mean over all weights."""
    one, other = weights(first), weights(second)
    return float(np.mean(np.concatenate([np.abs(one[name] - other[name]).ravel() for name in one])))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_two_processes_find_what_one_finds(home: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the order of sums differs. Adam makes much of it where a gradient is all but zero: there the mean counts."""
    monkeypatch.setenv("GRAPHOPT_CACHE", str(home / "cache"))
    path = write_config(home, **CHANGES, run=str(home / "two"))  # torchrun takes --run for an option of its own
    done = torchrun("run", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Network ") == 1, "one process speaks"
    for name in ("selection.json", "selection.0.9.json", "selection.entropy-sites.0.8.json"):
        assert read(home / "two" / "search" / name)["selection"] == read(alone / "search" / name)["selection"]
    fronts = [read(run / "search" / "front.json") for run in (alone, home / "two")]
    assert [row["psnr"] for row in fronts[1]] == pytest.approx([row["psnr"] for row in fronts[0]], abs=2e-3)
    sensitivities = [read(run / "search" / "sensitivity.json") for run in (alone, home / "two")]
    for name, row in sensitivities[0].items():
        assert sensitivities[1][name] == pytest.approx(row, abs=1e-3)
    assert furthest(alone / "rewrite" / "model.onnx", home / "two" / "rewrite" / "model.onnx") < 1e-5
    moved = apart(alone / "finetune" / "model.onnx", alone / "rewrite" / "model.onnx")
    assert moved > 1e-3
    assert apart(alone / "finetune" / "model.onnx", home / "two" / "finetune" / "model.onnx") < 1e-3 * moved
    assert apart(alone / "model.onnx", home / "two" / "model.onnx") < 1e-3 * moved
    assert not open_pipeline(path, home / "two", home / "cache", silent).run(), "one process finds nothing left to do"


def test_two_processes_go_on_where_one_was_killed(home: Path, alone: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("GRAPHOPT_CACHE", str(home / "cache"))
    longer = {**CHANGES, "finetune": {**CHANGES["finetune"], "steps": 8}}
    copied = tmp_path / "run"
    path = write_config(home, **longer, run=str(copied))
    shutil.copytree(alone, copied)

    def killed(stage: str, share: float, words: str) -> None:
        if stage == "finetune" and "step 6/" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_pipeline(path, copied, home / "cache", killed).run()
    done = torchrun("run", path)
    assert done.returncode == 0, done.stderr
    assert "search: done already" in done.stderr
    assert "finetune: goes on at step 4" in done.stderr
    assert [record["step"] for record in read(copied / "finetune" / "history.json")] == [2, 4, 6, 8]


@pytest.mark.parametrize("stage", ["search", "finetune"])
def test_a_batch_that_cannot_be_shared_is_said_before_any_work(home: Path, stage: str) -> None:
    path = write_config(home, **{**CHANGES, stage: {**CHANGES[stage], "patches": [3, 32]}}, run=str(home / "odd"))
    done = torchrun("run", path)
    assert done.returncode != 0
    assert "a batch of 3 patches cannot be shared by 2 processes" in done.stderr
    assert not (home / "odd").exists()
