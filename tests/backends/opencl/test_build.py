"""What a run writes for a phone's GPU: source that a compiler for OpenCL C takes, and a library for Android."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import onnx
import pytest
from odd_names import oddly_named
from small_models import two_inputs

from graphopt.backends.opencl.build import build
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.kernels.linker import aarch64_linker
from graphopt.models.source import export_random, find_model, load_source

CLANG = shutil.which("clang")
needs_clang = pytest.mark.skipif(CLANG is None, reason="needs clang: apt-get install clang")


def compiles(path: Path) -> None:
    language = ["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header", "-Dcl_khr_fp16"]
    command = [str(CLANG), *language, "-fsyntax-only", "-Werror", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


def built(model: onnx.ModelProto, folder: Path, target: str = "sm8650-adreno750") -> tuple[Path, Path]:
    """The source and the library."""
    source, library = build(model, load_target(target), folder, CostCache(folder / "cache"))
    return source, library


@needs_clang
@pytest.mark.parametrize("target", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_names_of_any_kind_compile(tmp_path: Path, target: str) -> None:
    source, _ = built(oddly_named(), tmp_path, target)
    compiles(source)


@needs_clang
@pytest.mark.parametrize("name", ["nafnet-width16-adreno750", "unet"])
def test_the_source_of_a_network_compiles_and_says_everything_once(tmp_path: Path, name: str) -> None:
    if name == "unet":
        model = export_random(name, (64, 64), tmp_path)
    else:
        model, _ = load_source(find_model(name, Path()), (64, 64), tmp_path / "exports")
    source, _ = built(model, tmp_path)
    compiles(source)
    lines = [line.rstrip(" {;") for line in source.read_text().splitlines() if line.startswith(("__kernel", "#pragma"))]
    assert len(lines) > 10
    assert set(Counter(lines).values()) <= {1}


@pytest.mark.parametrize("name", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_opencl_source_and_aarch64_library(name: str, tmp_path: Path) -> None:
    source, library = built(two_inputs(), tmp_path, name)
    text = source.read_text()
    assert source.name == f"{name}.cl"
    assert text.count("__kernel void") >= 7  # norm 3, convolutions 3, pool, scale and clip
    assert "half" in text
    if aarch64_linker() is None:
        pytest.skip("no linker for aarch64 here: pip install ziglang")
    header = library.read_bytes()[:20]
    assert library.name == f"{name}.aarch64.so"
    assert header[:5] == b"\x7fELF\x02"
    assert int.from_bytes(header[16:18], "little") == 3  # ET_DYN: a shared object
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64


def test_without_a_linker_the_objects_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.backends.opencl.build.aarch64_linker", lambda: None)
    _, library = built(two_inputs(), tmp_path)
    assert library.name == "sm8650-adreno750.aarch64.tar"
    shutil.unpack_archive(library, tmp_path / "objects")
    headers = [path.read_bytes()[:20] for path in (tmp_path / "objects").glob("*.o")]
    assert headers
    assert all(header[:4] == b"\x7fELF" and header[18] == 183 for header in headers)


def test_a_linker_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NDK_CC", "false")
    with pytest.raises(GraphoptError, match="with false failed"):
        built(two_inputs(), tmp_path)
