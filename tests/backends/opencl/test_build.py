"""What a run writes for a phone's GPU is what a compiler for OpenCL C takes: the file itself, not a copy of it."""

import re
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from graphs import onnx_model
from onnx import numpy_helper
from tvm import s_tir

from graphopt.backends.compiled import compile_network
from graphopt.backends.opencl.plan import Tensor, kernels_of, read_artefact
from graphopt.cost.cache import CostCache
from graphopt.cost.target import load_target
from graphopt.kernels.facts import kernel_kind, lower
from graphopt.kernels.legal_names import legal_names
from graphopt.kernels.lowering import tvm_target
from graphopt.models.source import export_random, find_model, load_source
from graphopt.tuning.builds import artefacts
from graphopt.tuning.workload import network_workloads

CLANG = shutil.which("clang")
needs_clang = pytest.mark.skipif(CLANG is None, reason="needs clang: apt-get install clang")


def compiles(path: Path) -> None:
    language = ["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header", "-Dcl_khr_fp16"]
    command = [str(CLANG), *language, "-fsyntax-only", "-Werror", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


def oddly_named() -> onnx.ModelProto:
    """Names that are no identifiers, that clash once they are, and that mean something in OpenCL C."""
    model = onnx_model(
        """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
            a = Conv<pads=[1,1,1,1]>(x, w, b) c = Mul(a, s) d = Add(c, t) y = Mul(d, e) }""",
        {"w": (4, 4, 3, 3), "b": (4,), "s": (1, 4, 1, 1), "t": (1, 4, 1, 1), "e": (1, 4, 1, 1)},
    )
    names = {"w": "0/conv@limited/weight", "b": "kernel", "s": "a.scale", "t": "a/scale", "e": "half", "x": "float"}
    for tensor in (*model.graph.input, *model.graph.initializer):
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return model


@needs_clang
@pytest.mark.parametrize("target", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_names_of_any_kind_compile(tmp_path: Path, target: str) -> None:
    source, *_ = compile_network(oddly_named(), load_target(target), tmp_path, CostCache(tmp_path / "cache"))
    compiles(source)


@needs_clang
@pytest.mark.parametrize("name", ["nafnet-width16-adreno750", "unet"])
def test_the_source_of_a_network_compiles_and_says_everything_once(tmp_path: Path, name: str) -> None:
    if name == "unet":
        model = export_random(name, (64, 64), tmp_path)
    else:
        model, _ = load_source(find_model(name, Path()), (64, 64), tmp_path / "exports")
    source, *_ = compile_network(model, load_target("sm8650-adreno750"), tmp_path, CostCache(tmp_path / "cache"))
    compiles(source)
    lines = [line.rstrip(" {;") for line in source.read_text().splitlines() if line.startswith(("__kernel", "#pragma"))]
    assert len(lines) > 10
    assert set(Counter(lines).values()) <= {1}


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
    source, library, *_ = compile_network(
        oddly_named(), load_target("sm8650-adreno750"), tmp_path, CostCache(tmp_path / "cache")
    )
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
    with artefacts([schedule], device, None) as (made,):
        assert made.path is not None, made.error
        found = embedded(made.path)
    assert found
    for kernel in found.values():
        assert "t_0_conv_limited_weight" in kernel
        (tmp_path / "kernel.cl").write_text(kernel)
        compiles(tmp_path / "kernel.cl")


def test_the_plan_launches_every_kernel_of_the_file_and_nothing_else(tmp_path: Path) -> None:
    source, *_ = compile_network(
        oddly_named(), load_target("sm8650-adreno750"), tmp_path, CostCache(tmp_path / "cache")
    )
    plan = read_artefact(source).plan
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


def test_names_stay_apart_and_legal_ones_stay() -> None:
    model = oddly_named()
    legal_names(model)
    found = [tensor.name for tensor in model.graph.initializer]
    assert sorted(found) == ["a_scale", "a_scale_2", "half", "kernel", "t_0_conv_limited_weight"]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["float", "y"]
    onnx.checker.check_model(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in oddly_named().graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), weights["0/conv@limited/weight"])
