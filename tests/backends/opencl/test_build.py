"""What a run writes for a phone's GPU is what a compiler for OpenCL C takes: the file itself, not a copy of it."""

import re
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import onnx
import pytest
import tvm
from odd_names import oddly_named
from small_models import two_inputs
from tvm import s_tir

from graphopt.backends.opencl.build import build
from graphopt.backends.opencl.plan import Tensor, kernels_of, read_kernel_file
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.kernels.facts import kernel_kind, lower
from graphopt.kernels.linker import aarch64_linker
from graphopt.kernels.lowering import tvm_target
from graphopt.models.source import export_random, find_model, load_source
from graphopt.tuning.builds import compiled_schedules
from graphopt.tuning.workload import network_workloads

CLANG = shutil.which("clang")
needs_clang = pytest.mark.skipif(CLANG is None, reason="needs clang: apt-get install clang")


def compiles(path: Path) -> None:
    language = ["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header", "-Dcl_khr_fp16"]
    command = [str(CLANG), *language, "-fsyntax-only", "-Werror", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


def built(model: onnx.ModelProto, folder: Path, target: str = "sm8650-adreno750") -> tuple[Path, Path]:
    """The source and the library."""
    source, library, *_ = build(model, load_target(target), folder, CostCache(folder / "cache"))
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


def embedded(library: Path) -> dict[str, str]:
    """The OpenCL sources that TVM packs into a library, or into the objects of an archive, by kernel."""
    content = library.read_bytes()
    if library.suffix == ".tar":
        with tarfile.open(library) as archive:
            content = b"".join(member.read() for item in archive if (member := archive.extractfile(item)))
    found = re.findall(rb"// Function: (\w+)\n([\t\n -~]+)", content)
    return {name.decode(): text.decode() for name, text in found}


@needs_clang
@pytest.mark.parametrize("linker", ["found", None])
def test_the_library_for_android_holds_the_same_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linker: str | None
) -> None:
    if linker is None:
        monkeypatch.setattr("graphopt.backends.opencl.build.aarch64_linker", lambda: None)
    source, library = built(oddly_named(), tmp_path)
    text = source.read_text()
    found = embedded(library)
    assert set(found) == set(kernels_of(text))
    for name, kernel in found.items():
        (tmp_path / "kernel.cl").write_text(kernel)
        compiles(tmp_path / "kernel.cl")
        assert kernel[kernel.rindex(f"__kernel void {name}(") :].strip() in text


@needs_clang
def test_what_tuning_builds_for_a_device_compiles(tmp_path: Path) -> None:
    phone = load_target("exynos2100-mali-g78")
    device = tvm_target(phone)
    (workload,) = network_workloads(oddly_named(), phone, CostCache(tmp_path)).found
    function = tvm.ir.load_json(workload.module)["main"]
    scheduled, _ = lower("main", function, kernel_kind(function), device)
    schedule = s_tir.Schedule(tvm.IRModule({"main": scheduled.with_attr("global_symbol", "main")}))
    with compiled_schedules([schedule], device, None) as (made,):
        assert made.path is not None, made.error
        found = embedded(made.path)
    assert found
    for kernel in found.values():
        assert "t_0_conv_limited_weight" in kernel
        (tmp_path / "kernel.cl").write_text(kernel)
        compiles(tmp_path / "kernel.cl")


def test_the_plan_launches_every_kernel_of_the_file_and_nothing_else(tmp_path: Path) -> None:
    source, _ = built(oddly_named(), tmp_path)
    plan = read_kernel_file(source).plan
    launches = [launch for call in plan.calls for launch in call.launches]
    assert {launch.kernel for launch in launches} == set(plan.kernels) == set(kernels_of(source.read_text()))
    (call,) = plan.calls
    assert call.inputs[:2] == ("float", "t_0_conv_limited_weight")
    assert plan.inputs == ("float",)
    assert plan.outputs == call.outputs
    assert {name: plan.tensors[name].shape for name in plan.weights} == {
        "t_0_conv_limited_weight": (4, 4, 3, 3),
        "kernel": (4,),  # which the kernel is given under another shape, in the same buffer
        "a_scale": (1, 4, 1, 1),
        "a_scale_2": (1, 4, 1, 1),
        "half": (1, 4, 1, 1),
    }
    assert plan.tensors[call.inputs[2]] == Tensor(buffer="kernel", dtype="float16", shape=(1, 4, 1, 1))
    assert plan.buffers[plan.tensors[plan.outputs[0]].buffer] == 4 * 8 * 8 * 2


def test_pointers_are_read_from_the_source() -> None:
    text = """__kernel void a(__global half* restrict x_ptr, __global const float* y_ptr) {
__kernel void b(int n) {
__kernel void declared(__global half* z_ptr);"""
    assert kernels_of(text) == {"a": ("half x_ptr", "float y_ptr"), "b": ("int n",)}
