"""Pairs of noisy and clean images."""

from __future__ import annotations

from pathlib import Path

import pytest
from photographs import picture, save


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, str]:
    for i in range(3):
        save(tmp_path / "noisy" / f"{i}.png", picture(20, 30, i))
        save(tmp_path / "clean" / f"{i}.bmp", picture(20, 30, 10 + i))
    return {"noisy": str(tmp_path / "noisy"), "clean": str(tmp_path / "clean")}
