"""Qualcomm's offline compiler: its version, its limits, and what goes wrong in it."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from npu import convolution, hexagon, needs_compiler
from PIL import Image

from graphopt.backends.qnn.compiler import compile_npu, compiler_version
from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.run.pipeline import open_pipeline


def _version(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name != "onnxruntime-qnn":
            return real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _version(monkeypatch, None)
    with pytest.raises(GraphoptError, match=r"sm8650-hexagon needs .*not installed: pip install 'graphopt\[qnn\]'$"):
        open_backend(hexagon(), CostCache(tmp_path)).price(convolution())


def test_a_pipeline_says_so_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _version(monkeypatch, None)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "photos" / "0.png")
    content = {
        "model": "nafnet-width8-sigma25",
        "data": {"train": ["photos"], "test": ["photos"]},
        "passes": ["affine-norm"],
        "targets": {"sm8650-hexagon": 0, "host-tvm": 1},
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(GraphoptError, match=r"pip install 'graphopt\[qnn\]'$"):
        open_pipeline(
            tmp_path / "pipeline.yaml", tmp_path / "run", tmp_path / "cache", lambda stage, share, words: None
        )
    assert not (tmp_path / "run").exists()


def test_another_version_of_the_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _version(monkeypatch, "3.0.0")
    with pytest.raises(GraphoptError, match=r"needs onnxruntime-qnn 2\.7\.0, found 3\.0\.0"):
        compiler_version(hexagon())


@needs_compiler
def test_the_time_limit() -> None:
    with pytest.raises(
        GraphoptError, match=r"compiling network 'small' took longer than 0\.01 s; raise 'time_limit_s'"
    ):
        compile_npu(convolution(), hexagon(time_limit_s=0.01))


@needs_compiler
def test_a_network_that_the_compiler_cannot_read() -> None:
    broken = convolution()
    broken.graph.node[0].op_type = "Convolve"
    with pytest.raises(GraphoptError, match=r"the NPU's compiler refuses network 'small': .*Convolve"):
        compile_npu(broken, hexagon())


@needs_compiler
def test_a_compiler_that_crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho about to die\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    with pytest.raises(GraphoptError, match="ended the compiler's process with SIGSEGV: last line .*: about to die"):
        compile_npu(convolution(), hexagon())
