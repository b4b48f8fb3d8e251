"""The least that configurations need, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graphopt.config.keys import Strict
from graphopt.config.pipeline import PipelineConfig
from graphopt.config.reading import read_config
from graphopt.errors import GraphoptError

PIPELINE: dict[str, Any] = {
    "model": "nafnet-width8-sigma25",
    "data": {"train": ["photographs"], "test": ["/somewhere/else"]},
    "passes": ["affine-norm"],
    "targets": {"host-tvm": 1},
}


PRETRAIN: dict[str, Any] = {"images": ["photographs"], "output": "w.safetensors", "steps": 3}


def read(folder: Path, content: Any, kind: type[Strict] = PipelineConfig) -> Any:
    """`content`, YAML or its values, as a file of `folder`."""
    path = folder / "config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_config(path, kind)


def message(folder: Path, content: Any, kind: type[Strict] = PipelineConfig) -> str:
    """The one line in which `content` is refused."""
    with pytest.raises(GraphoptError) as caught:
        read(folder, content, kind)
    text = str(caught.value)
    assert text.startswith(f"config {folder / 'config.yaml'}")
    assert "\n" not in text
    return text
