"""Fixtures: a small NAFNet, images to calibrate on, and the command line to call."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime.transformers  # noqa: F401  # it adds to sys.path, which a test that puts it back must not undo
import pytest
from graphs import Call, nafnet

from graphopt.cli import main


@pytest.fixture(scope="session")
def _nafnet_once() -> gs.Graph:
    return nafnet()


@pytest.fixture
def nafnet_graph(_nafnet_once: gs.Graph) -> gs.Graph:
    """A copy of the small NAFNet, 1x3x16x16 -> 1x3x16x16."""
    return _nafnet_once.copy()


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Three small scenes, a ramp and an edge each, with noise of sigma 25/255."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:16, 0:16] / 16
    made = []
    for _ in range(3):
        slope, level, cut = random.normal(size=(3, 2)), random.random(3), random.random()
        scene = level[:, None, None] + slope[:, :1, None] * rows * 0.5 + slope[:, 1:, None] * (columns > cut) * 0.5
        made.append((scene + random.normal(0, 25 / 255, scene.shape))[None].astype(np.float32))
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs `graphopt ARGUMENTS` in this process: exit status, output, errors."""
    monkeypatch.setenv("GRAPHOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["graphopt", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run
