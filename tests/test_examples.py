"""The recipes under examples/: each is valid and names what there is, and the full-size ones work when shortened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import savemat

from graphopt.backends.targets import load_target
from graphopt.config.data import EvaluationData, SiddFolder
from graphopt.config.model import ModelConfig
from graphopt.config.pipeline import PipelineConfig
from graphopt.config.reading import read_config
from graphopt.config.training import PretrainConfig
from graphopt.ir.passes import Stage
from graphopt.ir.registry import load_pass
from graphopt.run.pipeline import open_pipeline
from graphopt.train.commands import build_model, pretrain_to_file
from graphopt.train.restorer import evaluate, open_restorer

EXAMPLES = Path(__file__).parents[1] / "examples"
TARGET = "sm8650-adreno750"
TINY: dict[str, Any] = {"width": 4, "encoder_blocks": [1, 1], "middle_blocks": 2, "decoder_blocks": [1, 1]}
SHORT_SEARCH = {"steps": 5, "patches": [2, 32]}
SHORT_TUNING = {"steps": 2, "patches": [2, 32], "workers": 0}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid_and_names_what_there_is(path: Path) -> None:
    if "pretrain" in path.stem:
        read_config(path, PretrainConfig)
        return
    config = read_config(path, PipelineConfig)
    passes = [load_pass(spec.name, spec.options, EXAMPLES) for spec in config.passes]
    assert {Stage.SEARCH, Stage.CLEANUP} <= {rule.stage for rule in passes}
    for name in config.targets:
        assert load_target(name).name == name


def test_the_gaussian_recipe_starts_from_what_the_pretraining_leaves() -> None:
    pretraining = read_config(EXAMPLES / "pretrain_width32.yaml", PretrainConfig)
    config = read_config(EXAMPLES / "nafnet_gaussian.yaml", PipelineConfig)
    assert pretraining.output == EXAMPLES / config.model
    assert (pretraining.source.train, pretraining.source.sigma) == (config.data.train, config.data.sigma)


def photograph(path: Path, seed: int, noise: float = 0) -> None:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:44, 0:50] / 50
    scene = 128 + 60 * np.stack([np.sin(5 * rows * (seed % 3 + 1)), np.cos(4 * columns), rows - columns], -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((scene + random.normal(0, 1, scene.shape) * noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs where the recipes look for them: BSDS500, CBSD68, and SIDD as it is published."""
    folder = tmp_path_factory.mktemp("examples")
    for number, place in enumerate(("BSDS500/train", "BSDS500/test", "CBSD68")):
        photograph(folder / place / "0.png", number)
    for scene in ("0001_001_S6", "0002_001_S6"):
        for kind, noise in (("NOISY", 12), ("GT", 0)):
            photograph(folder / "SIDD" / "Data" / scene / f"{scene[:4]}_{kind}_SRGB_010.PNG", int(scene[:4]), noise)
    random = np.random.default_rng(0)
    clean = random.integers(60, 200, (1, 2, 32, 32, 3))
    noisy = clean + random.normal(0, 10, clean.shape)
    for name, content in (("ValidationNoisyBlocksSrgb", noisy), ("ValidationGtBlocksSrgb", clean)):
        savemat(folder / "SIDD" / f"{name}.mat", {name: content.clip(0, 255).astype(np.uint8)})
    return folder


def run_shortened(name: str, home: Path) -> tuple[Path, dict[str, Any]]:
    """The run folder and the metrics of a recipe on a small image, one target, and a few steps."""
    content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    assert TARGET in content["targets"]
    changes = {"resolution": [32, 32], "targets": {TARGET: 1}}
    trainings = {"search": {**content["search"], **SHORT_SEARCH}, "finetune": {**content["finetune"], **SHORT_TUNING}}
    path = home / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**content, **changes, **trainings}))
    assert open_pipeline(path, home / "runs" / name, home / "cache", lambda stage, share, words: None).run()
    metrics: dict[str, Any] = json.loads((home / "runs" / name / "metrics.json").read_text())
    return home / "runs" / name, metrics


def check_result(name: str, run: Path, metrics: dict[str, Any]) -> None:
    """The goals of the file are met, as parts and, but for what does not add up, as a whole."""
    content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["search"]
    before, after = (metrics["targets"][TARGET][when] for when in ("before", "after"))
    assert after["latency_ms"] <= content["latency"] * before["latency_ms"] * 1.05
    parameters = metrics["parameters"]
    assert parameters["after"] <= content["objective"]["parameters"] * parameters["before"]
    assert json.loads((run / "search" / "selection.json").read_text())["missed"] == []
    onnx.checker.check_model(onnx.load(run / "model.onnx"), full_check=True)
    assert all(np.isfinite(metrics["quality"][when]["psnr"]) for when in ("before", "after"))


def test_the_gaussian_recipe_shortened(home: Path) -> None:
    content = yaml.safe_load((EXAMPLES / "pretrain_width32.yaml").read_text())
    short = {"model": TINY, "steps": 2, "small": [2, 32], "large": [2, 32], "workers": 0}
    path = home / "pretrain.yaml"
    path.write_text(yaml.safe_dump({**content, **short}))
    pretrain_to_file(read_config(path, PretrainConfig), lambda share, words: None)
    check_result("nafnet_gaussian", *run_shortened("nafnet_gaussian", home))


def test_the_sidd_recipe_shortened(home: Path) -> None:
    torch.manual_seed(3)
    network = build_model(ModelConfig(**TINY))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.uniform_(0.1, 0.5)
    torch.save({"params": network.state_dict()}, home / "NAFNet-SIDD-width32.pth")  # as it is published
    run, metrics = run_shortened("nafnet_sidd_sm8650", home)
    check_result("nafnet_sidd_sm8650", run, metrics)
    blocks = EvaluationData(test=[SiddFolder(sidd=home / "SIDD")])
    own = evaluate(open_restorer(run / "model.onnx"), blocks, lambda share, words: None)
    assert metrics["quality"]["after"]["psnr"] == pytest.approx(own.psnr, abs=1e-3), "judged on the validation blocks"
