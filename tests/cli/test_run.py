"""`graphopt run`: mistakes in the file. What a run does is tested with the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "gone.yaml"], "config gone.yaml does not exist"),
        (["run", "wrong.yaml"], "unknown key 'widht'"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50],
)
def test_a_mistake_is_one_line(
    arguments: list[Any], expected: str, mistake: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text("widht: 8\n")
    assert expected in mistake(*arguments)
