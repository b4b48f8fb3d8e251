"""The files for a phone's GPU, run here in a process of their own (PoCL in continuous integration)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import difference, onnx_model, run

from graphopt.backends.base import Artefact
from graphopt.backends.opencl import platform as opencl
from graphopt.backends.opencl.plan import plan_path
from graphopt.backends.opencl.shipped import check_library, run_shipped
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError

REASON = opencl.why_no_platform()
needs_platform = pytest.mark.skipif(REASON is not None, reason=str(REASON))
PHONE = "sm8650-adreno750"
IMAGE = np.random.default_rng(0).random((1, 4, 8, 8), dtype=np.float32)


def small() -> onnx.ModelProto:
    """Two outputs, of which the first is the longer way."""
    shape = "float[1,4,8,8]"
    text = f"({shape} x) => ({shape} z, {shape} y) {{ y = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(y) z = Add(r, x) }}"
    return onnx.shape_inference.infer_shapes(onnx_model(text, {"w": (4, 4, 3, 3), "b": (4,)}))


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    (tmp_path / "out").mkdir()
    return open_backend(load_target(PHONE), CostCache(tmp_path / "cache")).build(small(), tmp_path / "out")


def source_of(artefact: Artefact) -> Path:
    return next(path for path in artefact.files if path.suffix == ".cl")


def change_plan(source: Path, change: str, by: int) -> None:
    """Multiplies the first size of `groups` or `threads` of every launch."""
    plan = json.loads(plan_path(source).read_text())
    for call in plan["calls"]:
        for launch in call["launches"]:
            launch[change][0] *= by
    plan_path(source).write_text(json.dumps(plan))


@needs_platform
def test_the_files_compute_the_network(artefact: Artefact, tmp_path: Path) -> None:
    backend = open_backend(load_target(PHONE), CostCache(tmp_path / "cache"))
    assert backend.runs_here
    assert backend.file_run(artefact).name == f"{PHONE}.cl"
    assert "float32, weights and image rounded to float16" in backend.runs_on
    z, y = backend.run(artefact, [IMAGE])
    assert z.dtype == y.dtype == np.float32
    assert 1e-6 < difference(z, run(small(), IMAGE)) < 2e-3  # weights and image are halves
    np.testing.assert_allclose(z, np.maximum(y, 0) + IMAGE.astype(np.float16), rtol=0, atol=1e-6)


@needs_platform
def test_a_kernel_that_never_ends_is_ended(artefact: Artefact) -> None:
    source = source_of(artefact)
    text = source.read_text()
    opening = text.index(") {\n", text.index("__kernel")) + 4
    source.write_text(f"{text[:opening]}  while (1) {{ barrier(CLK_LOCAL_MEM_FENCE); }}\n{text[opening:]}")
    said = r"(the last thing it said: launches kernel \w+|no kernel was launched)"  # the latter on a busy machine
    with pytest.raises(GraphoptError, match=rf"took longer than 6 s; a kernel hangs, or .* \({said}\)$"):
        run_shipped(source, [IMAGE], limit_s=6)


@needs_platform
def test_what_the_device_refuses_is_one_line(artefact: Artefact) -> None:
    source = source_of(artefact)
    change_plan(source, "threads", 1 << 20)
    with pytest.raises(GraphoptError, match=r"INVALID_WORK_(GROUP|ITEM)_SIZE"):
        run_shipped(source, [IMAGE])


def test_another_image_is_refused_before_any_work(artefact: Artefact) -> None:
    with pytest.raises(GraphoptError, match=r"adreno750\.cl takes \[\(1, 4, 8, 8\)\], found \[\(1, 4, 8, 9\)\]"):
        run_shipped(source_of(artefact), [np.zeros((1, 4, 8, 9), np.float32)])


def test_the_library_holds_the_kernels_that_are_run(artefact: Artefact) -> None:
    library, source = artefact.files[0], source_of(artefact)
    check_library(library, source)
    text = source.read_text()
    source.write_text(text.replace("x_ptr[", "x_ptr[0*", 1))
    with pytest.raises(GraphoptError, match=r"aarch64\.\w+ does not hold kernel \w+ as it is in .*different builds"):
        check_library(library, source)


def test_without_a_platform_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl.importlib.util, "find_spec", lambda name: None)
    backend = open_backend(load_target(PHONE), CostCache(tmp_path))
    assert not backend.runs_here
    with pytest.raises(GraphoptError, match=r"do not run here: pyopencl, .* is not installed: pip install 'graphopt\["):
        backend.run(Artefact(()), [])
