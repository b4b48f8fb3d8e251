"""Manifests: the schema in the repository is that of the model, and what does not follow it is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from manifests import MANIFEST

from graphopt.bundle.manifest import SCHEMA_FILE, Manifest, json_schema, read_manifest
from graphopt.errors import GraphoptError


def test_the_schema_in_the_repository_is_the_models() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema(), "run: python -m graphopt.bundle.schema"


def test_a_manifest_is_written_as_it_is_read(tmp_path: Path) -> None:
    manifest = Manifest.model_validate(MANIFEST)
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))
    assert read_manifest(tmp_path / "manifest.json") == manifest
    assert json.loads((tmp_path / "manifest.json").read_text())["schema"] == 2


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({"layout": "NCHW", "shape": [1, 3, 48, 64]}, (48, 64)),
        ({"layout": "NHWC", "shape": [1, 48, 64, 3]}, (48, 64)),
        ({"layout": "NCHW", "shape": [1, 3, None, None]}, None),
    ],
)
def test_the_size_that_an_artefact_takes(inputs: dict[str, Any], size: tuple[int, int] | None) -> None:
    given = {**MANIFEST, "inputs": [{**MANIFEST["inputs"][0], **inputs}]}
    assert Manifest.model_validate(given).size == size


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema": 1}, "it is of schema 1, and this graphopt reads 2; run the pipeline again"),
        ({"precision": "float16"}, "precision: Input should be 'fp32', 'fp16', 'w8a16' or 'w8a8'"),
        ({"stride": 0}, "stride: Input should be greater than or equal to 1"),
        ({"files": [{"name": "../a.so", "sha256": "0" * 64, "bytes": 1}]}, "files.0.name: String should match"),
        ({"files": []}, "files: List should have at least 1 item"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"delegate": "GPU"}, "delegate: String should match pattern"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**MANIFEST, **change}))
    with pytest.raises(GraphoptError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(caught.value)


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"is no bundle: manifest\.json cannot be read \(No such file"):
        read_manifest(tmp_path / "manifest.json")


def test_text_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("words")
    with pytest.raises(GraphoptError, match=r"manifest\.json: top level: Invalid JSON"):
        read_manifest(tmp_path / "manifest.json")
