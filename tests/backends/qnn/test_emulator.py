"""Context binaries on Qualcomm's emulator of the NPU, where onnxruntime-qnn is installed."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import difference, onnx_model, run
from npu import convolution, hexagon, needs_compiler

from graphopt.backends.base import Artefact
from graphopt.backends.qnn import emulator
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError


def built(model: onnx.ModelProto, folder: Path) -> Artefact:
    folder.mkdir(exist_ok=True)
    return open_backend(hexagon(), CostCache(folder / "cache")).build(model, folder)


def on_the_npu(artefact: Artefact, *inputs: np.ndarray, target: NpuTarget | None = None) -> list[np.ndarray]:
    return open_backend(target or hexagon(), CostCache(artefact.files[0].parent / "cache")).run(artefact, inputs)


@needs_compiler
def test_the_binary_for_the_phone_computes_the_network_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = built(convolution(), tmp_path)
    image = np.random.default_rng(0).random((1, 16, 32, 32), dtype=np.float32)
    (made,) = on_the_npu(artefact, image)
    assert made.dtype == np.float32
    assert 1e-5 < difference(made, run(convolution(), image)) < 2e-3
    monkeypatch.setattr(emulator, "run_child", None)  # a second look runs nothing
    np.testing.assert_array_equal(on_the_npu(artefact, image)[0], made)


@needs_compiler
def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    shape = "float[1,8,16,16]"
    model = onnx_model(f"({shape} b, {shape} a) => ({shape} z, {shape} y) {{ z = Sub(b, a) y = Mul(b, a) }}")
    b, a = np.random.default_rng(0).random((2, 1, 8, 16, 16), dtype=np.float32)
    z, y = on_the_npu(built(onnx.shape_inference.infer_shapes(model), tmp_path), b, a)
    assert difference(z, b - a) < 2e-3
    assert difference(y, b * a) < 2e-3


@needs_compiler
def test_what_halves_cannot_hold_overflows_as_on_the_phone(tmp_path: Path) -> None:
    shape = "float[1,8,16,16]"
    text = f"({shape} x) => ({shape} y) {{ c = Conv(x, w) s = Mul(c, c) y = Conv(s, v) }}"
    weights = {"w": 400 * np.eye(8)[:, :, None, None], "v": 1e-5 * np.eye(8)[:, :, None, None]}
    model = onnx.shape_inference.infer_shapes(onnx_model(text, weights))
    image = np.ones((1, 8, 16, 16), np.float32)
    assert run(model, image).max() == pytest.approx(1.6, rel=1e-6)
    (made,) = on_the_npu(built(model, tmp_path), image)
    assert not np.isfinite(made).all() or difference(made, run(model, image)) > 0.1


@needs_compiler
def test_a_binary_that_is_damaged_is_refused(tmp_path: Path) -> None:
    artefact = built(convolution(), tmp_path)
    image = np.zeros((1, 16, 32, 32), np.float32)
    artefact.files[1].write_bytes(b"no binary")
    with pytest.raises(GraphoptError, match=r"running sm8650-hexagon\.onnx on the emulated NPU failed: \S.*"):
        on_the_npu(artefact, image)
    artefact.files[1].unlink()
    with pytest.raises(GraphoptError, match=r"sm8650-hexagon_qnn\.bin is missing; deploy the network again"):
        on_the_npu(artefact, image)


@needs_compiler
def test_its_time_limit_and_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact, image = built(convolution(), tmp_path), np.zeros((1, 16, 32, 32), np.float32)
    with pytest.raises(GraphoptError, match=r"took longer than 0\.01 s; .* raise 'emulator_limit_s' in the target's"):
        on_the_npu(artefact, image, target=hexagon(emulator_limit_s=0.01))
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho about to die\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    with pytest.raises(GraphoptError, match="emulated NPU ended its process with SIGSEGV: last line .*: about to die"):
        on_the_npu(artefact, image)


@needs_compiler
def test_where_there_is_no_emulator_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    backend = open_backend(hexagon(), CostCache(tmp_path))
    assert not backend.runs_here
    with pytest.raises(GraphoptError, match=r"do not run here: Qualcomm's emulator .* is for x86_64 Linux, .*aarch64$"):
        backend.run(Artefact(()), [])
    assert [finding.state for finding in backend.check()] == ["ok", "missing"]
