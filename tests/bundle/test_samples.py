"""Samples: they run without graphopt and give what it gives, or are compiled where their runtime is not at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import MANIFEST
from onnx.shape_inference import infer_shapes
from PIL import Image
from rated import install_rated, local_network, rated_bundle

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import list_targets, load_target
from graphopt.bundle.bundle import Bundle, empty_folder, write_bundle
from graphopt.bundle.manifest import Manifest, Noise
from graphopt.bundle.restore import open_bundle
from graphopt.bundle.samples import write_samples
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.sizes import at_any_size
from graphopt.train.data import read_image, to_planes, write_image
from graphopt.train.tiling import by_tiles

TILE, OVERLAP = (32, 32), 8
HOSTS = {target.name: target for target in list_targets() if target.device == "cpu"}
TVM = next(name for name, target in HOSTS.items() if target.kind == "llvm")
DECLARED = Path(__file__).parents[1] / "support" / "declared"
ORT = Path(os.environ.get("ONNXRUNTIME", "/usr"))  # a release of onnxruntime with headers, where one is installed
HEADERS = [
    folder
    for folder in (
        ORT / "include",
        ORT / "include" / "onnxruntime",
        ORT / "include" / "onnxruntime" / "core" / "session",
    )
    if (folder / "onnxruntime_cxx_api.h").exists()
]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """45 rows, 70 columns: no multiples of the stride, some tiles in both directions."""
    pixels = np.random.default_rng(3).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    Image.fromarray(pixels).save(tmp_path / "noisy.ppm")
    return tmp_path / "noisy.png"


@pytest.fixture
def onnx_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Bundle]:
    install_rated(tmp_path, monkeypatch)

    def make(free: bool) -> Bundle:
        model = local_network(*TILE)
        return rated_bundle(tmp_path, at_any_size(model, 2) if free else model, TILE, OVERLAP, 2)

    return make


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The bundle of a target of this machine, built once; skipped where its runtime is not installed."""

    @cache
    def make(name: str) -> Bundle:
        home = tmp_path_factory.mktemp(name)
        backend: Any = open_backend(HOSTS[name], CostCache(home / "costs"))
        try:
            backend.key()
        except GraphoptError as error:
            pytest.skip(str(error))
        folder, model = empty_folder(home / "bundle"), infer_shapes(local_network(*TILE))
        about = {"stride": 2, "tile": TILE, "overlap": OVERLAP, "noise": Noise(kind="gaussian"), "graph": "a hash"}
        return write_bundle(folder, HOSTS[name], backend.build(model, folder), about)

    return make


def ran(*command: object) -> None:
    """Runs a program in a place that knows nothing of graphopt's sources."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


def check(bundle: Bundle, photograph: Path, restored: Path) -> None:
    """A sample agrees with graphopt: one level of 255 where a program rounds halves the other way."""
    expected = photograph.with_name("expected.png")
    restore = open_bundle(bundle.folder, CostCache(bundle.folder.parent / "costs"))
    write_image(expected, restore(to_planes(read_image(photograph))))
    found, right = (np.asarray(Image.open(path)).astype(int) for path in (restored, expected))
    assert found.shape == right.shape == (45, 70, 3)
    assert np.abs(found - right).max() <= 1
    assert (found != right).mean() < 1e-3


@pytest.mark.parametrize("free", [False, True])
def test_python_with_onnxruntime(onnx_bundle: Callable[[bool], Bundle], photograph: Path, free: bool) -> None:
    bundle = onnx_bundle(free)
    moved = Path(shutil.move(bundle.folder, photograph.with_name("elsewhere")))
    ran(sys.executable, moved / "sample" / "denoise.py", photograph, photograph.with_name("out.png"))
    check(Bundle.open(moved), photograph, photograph.with_name("out.png"))


@pytest.mark.parametrize("name", HOSTS)
def test_python_on_each_host(bundle_of: Callable[[str], Bundle], photograph: Path, name: str) -> None:
    bundle = bundle_of(name)
    ran(sys.executable, bundle.folder / "sample" / "denoise.py", photograph, photograph.with_name("out.png"))
    check(bundle, photograph, photograph.with_name("out.png"))


def test_cpp_with_tvm(bundle_of: Callable[[str], Bundle], photograph: Path) -> None:
    import tvm
    import tvm_ffi

    tvm_bundle = bundle_of(TVM)
    sample, program = tvm_bundle.folder / "sample", photograph.with_name("denoise")
    homes = [Path(str(module.__file__)).parent for module in (tvm, tvm_ffi)]
    paths = [flag for home in homes for flag in (f"-L{home}/lib", f"-Wl,-rpath,{home}/lib")]
    libraries = ("-Wl,--no-as-needed", "-ltvm_runtime", "-ltvm_ffi")
    ran("g++", "-std=c++20", f"-I{homes[1]}/include", sample / "denoise.cpp", "-o", program, *paths, *libraries)
    restored = photograph.with_name("out.ppm")
    ran(program, tvm_bundle.artefact.files[0], photograph.with_suffix(".ppm"), restored)
    check(tvm_bundle, photograph, restored)


def test_cpp_with_onnxruntime_is_correct_cpp(onnx_bundle: Callable[[bool], Bundle]) -> None:
    sample = onnx_bundle(False).folder / "sample" / "denoise.cpp"
    ran("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{DECLARED}", sample)


@pytest.mark.skipif(
    not HEADERS,
    reason="no headers of onnxruntime: unpack a release, and set ONNXRUNTIME to its folder",
)
def test_cpp_with_onnxruntime(onnx_bundle: Callable[[bool], Bundle], photograph: Path) -> None:
    bundle = onnx_bundle(True)
    sample, program = bundle.folder / "sample", photograph.with_name("denoise")
    paths = [f"-I{HEADERS[0]}", f"-L{ORT}/lib", f"-Wl,-rpath,{ORT}/lib"]
    ran("g++", "-std=c++17", "-O1", sample / "denoise.cpp", "-o", program, *paths, "-lonnxruntime")
    restored = photograph.with_name("out.ppm")
    ran(program, bundle.artefact.files[0], photograph.with_suffix(".ppm"), restored)
    check(bundle, photograph, restored)


def written(folder: Path, target: str, **changes: Any) -> Path:
    """Samples alone, of a bundle whose artefact is made elsewhere."""
    folder.mkdir(exist_ok=True)
    write_samples(folder, Manifest.model_validate({**MANIFEST, **changes}), load_target(target))
    return folder


KOTLIN_MAIN = """
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

fun main(files: Array<String>) {
    val noisy = Image(45, 70)
    DataInputStream(File(files[0]).inputStream().buffered()).use { given ->
        for (i in noisy.values.indices) noisy.values[i] = given.readFloat()
    }
    val restored = restore(noisy) { tile ->
        val mean = tile.values.average().toFloat()
        Image(tile.height, tile.width, FloatArray(tile.values.size) { tile.values[it] * mean })
    }
    DataOutputStream(File(files[1]).outputStream().buffered()).use { made -> restored.values.forEach { made.writeFloat(it) } }
}
"""
PHONES = {
    "tflite": {"format": "tflite", "delegate": "gpu", "runtime": {"name": "litert", "version": "2.3.0"},
               "inputs": [{**MANIFEST["inputs"][0], "layout": "NHWC", "shape": [1, 32, 32, 3]}]},
    "onnx": {},
    "qnn-context": {"format": "qnn-context", "delegate": "htp"},
}  # fmt: skip


@pytest.mark.skipif(shutil.which("kotlinc") is None, reason="no Kotlin compiler: apt-get install kotlin")
def test_kotlin_is_compiled_and_its_tiles_agree(tmp_path: Path) -> None:
    """The three for phones against declarations of their runtimes; the tiling, which they share, is run."""
    sources = sorted(DECLARED.glob("*.kt"))
    for name, changes in PHONES.items():
        sample = written(tmp_path / name, "sm8650-hexagon", **changes, overlap=9, stride=2) / "sample"
        made = tmp_path / f"{name}.kt"
        made.write_text(
            f"package {name.replace('-', '')}\nimport Image\nimport restore\n{(sample / 'Denoiser.kt').read_text()}"
        )
        sources.append(made)
    (tmp_path / "Main.kt").write_text(KOTLIN_MAIN)
    ran("kotlinc", "-nowarn", *sources, sample / "Tiles.kt", tmp_path / "Main.kt", "-d", tmp_path / "samples.jar")
    image = np.random.default_rng(3).random((3, 45, 70), dtype=np.float32)
    (tmp_path / "given").write_bytes(image.astype(">f4").tobytes())
    ran("kotlin", "-classpath", tmp_path / "samples.jar", "MainKt", tmp_path / "given", tmp_path / "made")
    found = np.frombuffer((tmp_path / "made").read_bytes(), ">f4").reshape(image.shape)
    mirrored = np.pad(image, [(0, 0), (0, 1), (0, 0)], mode="symmetric")
    expected = by_tiles(lambda tile: tile * tile.mean(), mirrored, TILE, 9, 2)[:, :45]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_phone_gets_kotlin_and_a_host_does_not(tmp_path: Path, onnx_bundle: Callable[[bool], Bundle]) -> None:
    on_phone = written(tmp_path / "phone", "sm8650-hexagon")
    here = onnx_bundle(True).folder
    names = [sorted(path.name for path in (folder / "sample").iterdir()) for folder in (on_phone, here)]
    assert names[1] == ["CMakeLists.txt", "denoise.cpp", "denoise.py", "tiles.hpp"]
    assert names[0] == ["CMakeLists.txt", "Denoiser.kt", "Tiles.kt", "denoise.cpp", "denoise.py", "tiles.hpp"]


@pytest.mark.parametrize("name", ["onnx", "tflite", "mnn", "tvm", "opencl", "qnn-context", "a-format-of-mine"])
@pytest.mark.parametrize("target", ["sm8650-hexagon", TVM])
def test_each_readme_is_ten_lines_or_so(tmp_path: Path, name: str, target: str) -> None:
    text = (written(tmp_path, target, format=name) / "README.md").read_text()
    lines = [line for line in text.splitlines() if line]
    assert len(lines) <= 13
    assert max(map(len, lines)) < 140
    assert "mine.onnx" in text
    assert "32x32 (height x width) alone" in text
    assert (tmp_path / "sample").exists() == (name != "a-format-of-mine")
