"""A phone, and folders for prices and records."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target


@pytest.fixture(scope="module")
def phone() -> Target:
    return load_target("exynos2100-mali-g78")


@pytest.fixture
def cache(tmp_path: Path) -> CostCache:
    return CostCache(tmp_path / "costs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))
