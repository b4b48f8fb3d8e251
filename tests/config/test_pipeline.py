"""A pipeline: its defaults, passes in their short forms, and one message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configs import PIPELINE, PRETRAIN, message, read

from graphopt.config.model import ModelConfig
from graphopt.config.pipeline import PassSpec, PipelineConfig
from graphopt.config.reading import read_config
from graphopt.config.training import PretrainConfig


def test_defaults_and_relative_paths(tmp_path: Path) -> None:
    config = read(tmp_path, PIPELINE)
    assert config.data.train == [tmp_path / "photographs"]
    assert config.data.test == [Path("/somewhere/else")]
    assert config.passes == [PassSpec(name="affine-norm", options={})]
    assert config.targets == {"host-tvm": 1.0}
    assert (config.run, config.resolution, config.exclude) == (None, None, [])
    assert config.search.patches == (8, 64)
    pretrain = read(tmp_path, PRETRAIN, PretrainConfig)
    assert pretrain.output == tmp_path / "w.safetensors"
    assert pretrain.model == ModelConfig(width=32, encoder_blocks=(2, 2, 4, 8), middle_blocks=12)


@pytest.mark.parametrize("name", ["quickstart.yaml", "pretrain_width8.yaml"])
def test_the_examples_are_valid(name: str) -> None:
    path = Path(__file__).parents[2] / "examples" / name
    config = read_config(path, PretrainConfig if "pretrain" in name else PipelineConfig)
    folders = config.images if isinstance(config, PretrainConfig) else config.data.train
    assert all(folder.is_relative_to(path.parent) for folder in folders)


def test_passes_in_their_short_forms(tmp_path: Path) -> None:
    passes = ["a", {"b": {"start": "one"}}, {"./c.py": None}, {"name": "d", "options": {"x": 1}}, {"name": "e"}]
    found = read(tmp_path, {**PIPELINE, "passes": passes}).passes
    assert [(spec.name, spec.options) for spec in found] == [
        ("a", {}), ("b", {"start": "one"}), ("./c.py", {}), ("d", {"x": 1}), ("e", {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modle": "x"}, "unknown key 'modle'; did you mean 'model'?"),
        ({"search": {"stepz": 3}}, "unknown key 'search.stepz'; did you mean 'steps'?"),
        ({"finetune": {"learning-rate": 3}}, "unknown key 'finetune.learning-rate'; did you mean 'learning_rate'?"),
        ({"data": {**PIPELINE["data"], "sgima": 3}}, "unknown key 'data.sgima'; did you mean 'sigma'?"),
        ({"passes": [{"name": "a", "optoins": {}}]}, "unknown key 'passes.0.optoins'; did you mean 'options'?"),
        ({"zzzzzz": 1}, "unknown key 'zzzzzz'; known: data, deploy, exclude, finetune"),
        ({"data": {"train": ["a"]}}, "key 'data.test' is missing"),
        ({"data": {"train": ["a"], "test": []}}, "key 'data.test': "),
        ({"trials": "many"}, "key 'trials': Input should be a valid integer"),
        ({"trials": 2.5}, "key 'trials': Input should be a valid integer"),
        ({"trials": -1}, "key 'trials': Input should be greater than or equal to 0, found -1"),
        ({"trials": True}, "key 'trials': expected a number, a text or a list, found True"),
        ({"model": 3}, "key 'model': Input should be a valid string, found 3"),
        ({"targets": {"host-tvm": 0, "other": 0}}, "'targets': at least one target needs a weight above 0"),
        ({"targets": {"host-tvm": -1}}, "key 'targets.host-tvm': Input should be greater than or equal to 0"),
        ({"targets": {"host-tvm": float("inf")}}, "key 'targets.host-tvm': Input should be a finite number"),
        ({"targets": {}}, "key 'targets': "),
        ({"passes": []}, "key 'passes': "),
        ({"resolution": [8, 64]}, "key 'resolution.0': Input should be greater than or equal to 16, found 8"),
        ({"resolution": 64}, "key 'resolution': "),
        ({"resolution": [64, 64, 3]}, "key 'resolution"),
        ({"finetune": {"patches": [4, -8]}}, "key 'finetune.patches.1': "),
        ({"search": 3}, "key 'search': "),
    ],
)
def test_mistakes_in_a_pipeline(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in message(tmp_path, {**PIPELINE, **changes})


def test_missing_keys(tmp_path: Path) -> None:
    text = message(tmp_path, {"model": "x"})
    assert all(f"key '{key}' is missing" in text for key in ("data", "passes", "targets"))
