"""The targets of MNN, and the mark of tests that need it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from graphopt.backends.mnn.backend import MnnBackend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache

needs_mnn = pytest.mark.skipif(
    importlib.util.find_spec("_mnncengine") is None, reason="MNN is not installed (graphopt[mnn])"
)


def mnn_backend(folder: Path, target: str = "host-mnn", **fields: object) -> MnnBackend:
    """The backend of a target that ships, with other facts."""
    made = open_backend(load_target(target).model_copy(update=fields), CostCache(folder / "cache"))
    assert isinstance(made, MnnBackend)
    return made
