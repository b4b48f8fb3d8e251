"""YAML: strict keys, numbers, and one message for all mistakes of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from configs import PIPELINE, message, read

from graphopt.config.pipeline import PipelineConfig
from graphopt.config.reading import read_config
from graphopt.errors import GraphoptError


def test_several_mistakes_are_one_message(tmp_path: Path) -> None:
    text = message(tmp_path, {**PIPELINE, "modle": 1, "trials": "x"})
    assert "unknown key 'modle'" in text
    assert "key 'trials'" in text


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
