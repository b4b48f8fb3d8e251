"""Bundles that a run leaves: what their manifests say is so, and the commands in them print their figures."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from graphs import Call
from PIL import Image
from rated import install_rated, local_network

from graphopt.bundle.bundle import Bundle
from graphopt.bundle.manifest import Manifest
from graphopt.errors import GraphoptError
from graphopt.run.pipeline import open_pipeline

FIGURES = {
    "latency": "latency_ms", "peak memory": "peak_memory_bytes", "speed-up": "ratio", "psnr": "psnr", "ssim": "ssim",
    "psnr of the original": "psnr", "ssim of the original": "ssim",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network, a photograph, and a target that runs here."""
    install_rated(tmp_path, monkeypatch)
    monkeypatch.setenv("GRAPHOPT_CACHE", str(tmp_path / "cache"))
    model = local_network(32, 32)
    model.metadata_props.add(key="license", value="MIT")
    onnx.save(model, tmp_path / "small.onnx")
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(5).integers(0, 255, (60, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "0.png")
    return tmp_path


def run(home: Path, **changes: Any) -> Path:
    """Runs a pipeline with sizes that are free, for a runtime that runs here and for a phone."""
    config = {
        "model": "small.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "calibration_images": 1, "sigma": [10, 20]},
        "passes": ["partial-depthwise"],
        "targets": {"mine.yaml": 1, "sm8650-adreno750": 0},
        "search": {"latency": 1.0, "steps": 2, "patches": [1, 32]},
        "finetune": {"steps": 2, "patches": [1, 32], "record_every": 2},
        "deploy": {"resolution": "free", "tile": 48, "overlap": 8},
        **changes,
    }
    (home / "small.yaml").write_text(yaml.safe_dump(config))
    assert open_pipeline(home / "small.yaml", home / "run", home / "cache", lambda *words: None).run()
    return home / "run"


def said(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_bundles_of_a_run(home: Path, call: Call) -> None:
    finished = run(home)
    here, phone = (Bundle.open(finished / "deploy" / name) for name in ("mine", "sm8650-adreno750"))
    for bundle in (here, phone):
        found = bundle.manifest
        assert (found.stride, found.tile, found.overlap, found.licence) == (2, (48, 48), 8, "MIT")
        assert (found.noise.kind, found.noise.low, found.noise.high) == ("gaussian", 10, 20)
        assert [figure.what for figure in found.figures] == list(FIGURES)
        assert (bundle.folder / "README.md").exists()
    assert (here.manifest.size, phone.manifest.size) == (None, (48, 48))
    facts = said(here.artefact.files[0])
    assert facts == {
        "version": facts["version"], "license": "MIT", "licence": "MIT", "stride": "2", "range": "[0, 1]",
        "noise": '{"kind": "gaussian", "low": 10.0, "high": 20.0}', "tile": "[48, 48]", "overlap": "8",
    }  # fmt: skip
    assert facts["version"].startswith("graphopt ")
    assert said(finished / "model.onnx")["tile"] == "[32, 32]"
    ran = json.loads((finished / "deploy" / "deploy.json").read_text())["ran"]["mine"]
    assert (ran["file"], ran["difference"]) == ("deploy/mine/mine.onnx", 0)
    commands_print_their_figures(here.manifest, call)
    run(home, targets={"mine.yaml": 1})
    assert [path.name for path in (finished / "deploy").iterdir() if path.is_dir()] == ["mine"]


def commands_print_their_figures(manifest: Manifest, call: Call) -> None:
    for figure in manifest.figures:
        program, *arguments = shlex.split(figure.command)
        status, out, err = call(*arguments, "--json")
        assert (program, status) == ("graphopt", 0), err
        found = json.loads(out)[FIGURES[figure.what]]
        if figure.what == "speed-up":
            assert found == {key: getattr(figure, key) for key in ("value", "low", "high", "provenance")}
        else:
            assert found == pytest.approx(figure.value, rel=1e-6), figure


def test_a_size_that_does_not_fit_is_said_before_the_search(home: Path) -> None:
    with pytest.raises(GraphoptError, match=r"'deploy\.tile' is 47; the network's stride, 2, must divide it: give 46"):
        run(home, deploy={"resolution": "free", "tile": 47})
    assert not (home / "run" / "space").exists()
