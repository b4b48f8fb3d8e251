"""YAML: strict keys, paths beside the file, and one message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graphopt.config.keys import Strict
from graphopt.config.model import ModelConfig
from graphopt.config.pipeline import PassSpec, PipelineConfig
from graphopt.config.reading import read_config
from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError

PIPELINE: dict[str, Any] = {
    "model": "nafnet-width8-sigma25",
    "data": {"train": ["photographs"], "test": ["/somewhere/else"]},
    "passes": ["affine-norm"],
    "targets": {"host-cpu": 1},
}
PRETRAIN: dict[str, Any] = {"images": ["photographs"], "output": "w.safetensors", "steps": 3}


def read(folder: Path, content: Any, kind: type[Strict] = PipelineConfig) -> Any:
    path = folder / "config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_config(path, kind)


def message(folder: Path, content: Any, kind: type[Strict] = PipelineConfig) -> str:
    with pytest.raises(GraphoptError) as caught:
        read(folder, content, kind)
    text = str(caught.value)
    assert text.startswith(f"config {folder / 'config.yaml'}")
    assert "\n" not in text
    return text


def test_defaults_and_relative_paths(tmp_path: Path) -> None:
    config = read(tmp_path, PIPELINE)
    assert config.data.train == [tmp_path / "photographs"]
    assert config.data.test == [Path("/somewhere/else")]
    assert config.passes == [PassSpec(name="affine-norm", options={})]
    assert config.targets == {"host-cpu": 1.0}
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
        ({"zzzzzz": 1}, "unknown key 'zzzzzz'; known: data, exclude, finetune, model"),
        ({"data": {"train": ["a"]}}, "key 'data.test' is missing"),
        ({"data": {"train": ["a"], "test": []}}, "key 'data.test': "),
        ({"trials": "many"}, "key 'trials': Input should be a valid integer"),
        ({"trials": 2.5}, "key 'trials': Input should be a valid integer"),
        ({"trials": -1}, "key 'trials': Input should be greater than or equal to 0, found -1"),
        ({"trials": True}, "key 'trials': expected a number, a text or a list, found True"),
        ({"model": 3}, "key 'model': Input should be a valid string, found 3"),
        ({"targets": {"host-cpu": 0, "other": 0}}, "'targets': at least one target needs a weight above 0"),
        ({"targets": {"host-cpu": -1}}, "key 'targets.host-cpu': Input should be greater than or equal to 0"),
        ({"targets": {"host-cpu": float("inf")}}, "key 'targets.host-cpu': Input should be a finite number"),
        ({"targets": {}}, "key 'targets': "),
        ({"passes": []}, "key 'passes': "),
        ({"resolution": [8, 64]}, "key 'resolution.0': Input should be greater than or equal to 16, found 8"),
        ({"resolution": 64}, "key 'resolution': "),
        ({"resolution": [64, 64, 3]}, "key 'resolution"),
        ({"search": {"method": "entrpy"}}, "key 'search.method': 'entrpy' is not known; did you mean 'entropy'?"),
        ({"search": {"baselines": ["mlip"]}}, "key 'search.baselines': 'mlip' is not known; did you mean 'milp'?"),
        (
            {"search": {"settle": 0.4}},
            "key 'search': 'settle' is an option of the methods entropy-sites, darts, gumbel, proxyless; leave it out",
        ),
        (
            {"search": {"method": "darts", "baselines": ["milp"], "contenders": 8}},
            "key 'search': 'contenders' is an option of the methods entropy, halving; leave it out, or set 'method' to",
        ),
        (
            {"search": {"objective": {"targets": "worst"}}},
            "key 'search': 'objective.targets' is an option of the methods entropy-sites, darts, gumbel, proxyless; leave",
        ),
        (
            {"search": {"method": "darts", "objective": {"memory_weight": 3}}},
            "key 'search.objective': 'memory_weight' is the weight of a goal that is not asked for; give 'memory', too",
        ),
        (
            {"search": {"pareto": [0.5], "warm_up_steps": 3}},
            "key 'search': 'warm_up_steps' is an option of the methods entropy-sites, darts, gumbel, proxyless, evolution",
        ),
        ({"search": {"method": "darts", "sensitivity": 3}}, "'sensitivity' is an option of the methods entropy-sites;"),
        (
            {"search": {"baselines": ["random"], "steps": 20}},
            "key 'search': 'warm_up_steps' (20) leaves nothing of 'steps' (20) for the choice by random",
        ),
        (
            {"search": {"objective": {"target": "mix"}}},
            "unknown key 'search.objective.target'; did you mean 'targets'?",
        ),
        (
            {"search": {"objective": {"targets": "best"}}},
            "key 'search.objective.targets': Input should be 'mix' or 'worst'",
        ),
        ({"search": {"latency": 1.5}}, "key 'search.latency': Input should be less than or equal to 1, found 1.5"),
        ({"search": {"learning_rate": float("nan")}}, "key 'search.learning_rate': "),
        ({"search": {"temperature": [1, 0]}}, "key 'search.temperature.1': Input should be greater than 0"),
        ({"search": {"patches": [0, 64]}}, "key 'search.patches.0': Input should be greater than or equal to 1"),
        ({"search": {"seed": -1}}, "key 'search.seed': Input should be greater than or equal to 0"),
        ({"finetune": {"patches": [4, -8]}}, "key 'finetune.patches.1': "),
        ({"search": 3}, "key 'search': "),
    ],
)
def test_mistakes_in_a_pipeline(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in message(tmp_path, {**PIPELINE, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"minutes": 3}, "config.yaml: give either 'steps' or 'minutes'"),
        ({"steps": None}, "config.yaml: give either 'steps' or 'minutes'"),
        ({"steps": 0}, "key 'steps': "),
        ({"images": []}, "key 'images': "),
        ({"images": "photographs"}, "key 'images': "),
        ({"model": {"width": 0}}, "key 'model.width': "),
        ({"model": {"widht": 8}}, "unknown key 'model.widht'; did you mean 'width'?"),
        ({"model": {"encoder_blocks": [1, -1, 1, 1]}}, "key 'model.encoder_blocks.1': "),
        (
            {"model": {"encoder_blocks": [1, 1]}},
            "key 'model': 'encoder_blocks' and 'decoder_blocks' must have the same length",
        ),
        ({"ema": 1}, "key 'ema': Input should be less than 1"),
    ],
)
def test_mistakes_in_a_training(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    text = message(tmp_path, {**PRETRAIN, **changes}, PretrainConfig)
    assert expected in text
    assert len(text) < len(str(tmp_path)) + 250  # not the whole file again


def test_several_mistakes_are_one_message(tmp_path: Path) -> None:
    text = message(tmp_path, {**PIPELINE, "modle": 1, "trials": "x"})
    assert "unknown key 'modle'" in text
    assert "key 'trials'" in text


def test_missing_keys(tmp_path: Path) -> None:
    text = message(tmp_path, {"model": "x"})
    assert all(f"key '{key}' is missing" in text for key in ("data", "passes", "targets"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: [1, 2", "is not valid YAML: "),
        ("\t- x: :", "is not valid YAML: "),
        ("- a\n- b\n", "expected keys and values, found list"),
        ("just words", "expected keys and values, found str"),
        ("", "expected keys and values, found NoneType"),
        ("x: !!python/object/apply:os.getcwd []", "is not valid YAML: "),
    ],
)
def test_not_a_mapping(content: str, expected: str, tmp_path: Path) -> None:
    assert expected in message(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "key", "lines"),
    [
        ("model: a\ntrials: 1\nmodel: b\n", "model", (3, 1)),
        ("search:\n  steps: 3\n  seed: 1\n  steps: 4\n", "steps", (4, 2)),
        ("passes: [{a: {x: 1, x: 2}}]\n", "x", (1, 1)),
        ("'model': a\nmodel: a\n", "model", (2, 1)),
    ],
)
def test_a_key_that_is_given_twice(content: str, key: str, lines: tuple[int, int], tmp_path: Path) -> None:
    expected = f", line {lines[0]}: key '{key}' is given twice, here and in line {lines[1]}; keep one of them"
    assert message(tmp_path, content).endswith(expected)


def test_a_key_that_overrides_a_merged_one_is_not_given_twice(tmp_path: Path) -> None:
    text = "search: &base {steps: 3, seed: 1}\nfinetune: {inner: {<<: *base, steps: 4}}\n"
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(GraphoptError, match=r"unknown key 'finetune\.inner'"):
        read_config(path, PipelineConfig)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"config .*gone\.yaml does not exist"):
        read_config(tmp_path / "gone.yaml", PipelineConfig)
    with pytest.raises(GraphoptError, match="cannot be read: Is a directory"):
        read_config(tmp_path, PipelineConfig)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GraphoptError, match="is not valid YAML"):
        read_config(tmp_path / "binary.yaml", PipelineConfig)


def test_numbers_as_yaml_reads_them(tmp_path: Path) -> None:
    text = yaml.safe_dump(PIPELINE) + "search: {learning_rate: 1e-3}\n"  # a text to YAML 1.1, a number to people
    assert read(tmp_path, text).search.learning_rate == 1e-3


def test_a_configuration_does_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(tmp_path, PIPELINE).trials = 3
