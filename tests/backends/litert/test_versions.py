"""The extra that is missing, or of another series: one line, before any work."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from graphs import Call
from PIL import Image
from tflite import litert_target

from graphopt.backends.litert.versions import version
from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError


def _installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    real = metadata.version

    def found(name: str) -> str:
        if name not in ("ai-edge-litert", "litert-torch"):
            return real(name)
        if name.replace("-", "_") not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name.replace("-", "_")]

    monkeypatch.setattr(metadata, "version", found)


@pytest.mark.parametrize("name", ["host-litert", "android-litert-gpu"])
def test_a_pipeline_says_so_before_any_work(
    name: str, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _installed(monkeypatch, ai_edge_litert="2.3.0")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "photos" / "0.png")
    content = {
        "model": "nafnet-width8-sigma25", "data": {"train": ["photos"], "test": ["photos"]},
        "passes": ["affine-norm"], "targets": {name: 0, "sm8650-adreno750": 1}, "run": str(tmp_path / "run"),
    }  # fmt: skip
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(content))
    status, _, err = call("run", tmp_path / "pipeline.yaml")
    assert status != 0
    said = f"target {name} needs litert-torch, which is not installed: pip install 'graphopt[litert]'"
    assert said in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_another_series_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _installed(monkeypatch, ai_edge_litert="3.0.0", litert_torch="0.10.2")
    assert version("litert-torch", "host-litert") == "0.10.2"
    with pytest.raises(GraphoptError, match=r"needs ai-edge-litert 2\.3\.\*, found 3\.0\.0: pip install 'graphopt"):
        open_backend(litert_target(), CostCache(tmp_path)).key()


def test_what_is_missing_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _installed(monkeypatch, ai_edge_litert="2.3.0")
    found = open_backend(litert_target(), CostCache(tmp_path)).check()
    assert [(one.what, one.state) for one in found] == [("ai-edge-litert", "ok"), ("litert-torch", "missing")]
