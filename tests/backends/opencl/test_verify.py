"""OpenCL files as they were written, run on this machine's OpenCL platform (PoCL in continuous integration)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import onnx_model
from typer.testing import CliRunner

from graphopt.backends.base import CheckedKernel
from graphopt.backends.opencl import platform as opencl
from graphopt.backends.opencl.build import build, build_under
from graphopt.backends.opencl.drawn_schedules import drawn_records
from graphopt.backends.opencl.plan import plan_path, read_kernel_file, weights_path
from graphopt.backends.opencl.platform import Device
from graphopt.backends.opencl.verify import _largest_difference, check_kernel_file
from graphopt.backends.targets import load_target
from graphopt.cli import app
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.registry import load_pass
from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
from graphopt.ir.space_building import build_space
from graphopt.kernels.lowering import kernel_calls, to_relax
from graphopt.kernels.target import GpuTarget
from graphopt.models.source import find_model, load_source

REASON = opencl.why_no_platform()
needs_platform = pytest.mark.skipif(REASON is not None, reason=str(REASON))
PHONES = ("sm8650-adreno750", "exynos2100-mali-g78")


def silent(share: float, words: str) -> None:
    pass


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return load_source(find_model("nafnet-width8-sigma25", Path()), (64, 64), tmp_path_factory.mktemp("exports"))[0]


@pytest.fixture(scope="module")
def optimised(shipped: onnx.ModelProto) -> onnx.ModelProto:
    """The shipped network with a candidate at every site, folded."""
    names = ("affine-norm", "strided-attention", "partial-depthwise", "resize-upsample", "average-downsample")
    images = [np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)]
    space = build_space(to_graph(shipped), [load_pass(name, {}, Path()) for name in names], images, [], silent)
    graph = apply_selection(space, {name: choice.options[-1] for name, choice in space.choices.items()})
    rewrite_everywhere(graph, [load_pass("fold-affine", {}, Path())])
    return to_model(graph)


def check(model: onnx.ModelProto, phone: str | GpuTarget, source: Path) -> tuple[list[CheckedKernel], float]:
    """What `verify` finds of the files at `source`, or of a build that it makes there."""
    target = load_target(phone) if isinstance(phone, str) else phone
    if not source.suffix:
        source.mkdir()
        source = build(model, target, source, CostCache(source))[0]
    return check_kernel_file(read_kernel_file(source), model, target, Device(), silent)


@needs_platform
@pytest.mark.parametrize("phone", PHONES)
def test_every_kernel_of_the_shipped_network_computes_it(shipped: onnx.ModelProto, phone: str, tmp_path: Path) -> None:
    checks, whole = check(shipped, phone, tmp_path / "out")
    expected = kernel_calls(to_relax(shipped, load_target(phone)))
    assert {check.name for check in checks} >= {call.name for call in expected}
    assert sum(check.calls for check in checks) >= sum(call.calls for call in expected)
    assert {check.kind for check in checks} >= {"conv", "pointwise", "depthwise", "reduction", "elementwise"}
    assert max(check.difference for check in checks) < 1e-5
    assert whole < 1e-5


@needs_platform
@pytest.mark.parametrize("phone", PHONES)
def test_every_kernel_of_an_optimised_network_computes_it(
    optimised: onnx.ModelProto, phone: str, tmp_path: Path
) -> None:
    checks, whole = check(optimised, phone, tmp_path / "out")
    assert len(checks) > 20
    assert whole < 1e-5


def small(height: int = 8, seed: int = 0) -> onnx.ModelProto:
    """Two functions: a convolution, and a sum that needs launches of its own, with a constant in its code."""
    shape = f"float[1,4,{height},8]"
    text = f"""({shape} x) => ({shape} y) {{
        c = Conv<pads=[1,1,1,1]>(x, w, b) m = ReduceMean<keepdims=1>(c, axes) d = Mul(m, s) y = Add(c, d) }}"""
    weights: dict[str, Any] = {"w": (4, 4, 3, 3), "b": (4,), "axes": np.array([1]), "s": np.float32(2.5)}
    return onnx.shape_inference.infer_shapes(onnx_model(text, weights, seed))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The OpenCL file of the small network, with what lies beside it."""
    return build(small(), load_target(PHONES[0]), tmp_path, CostCache(tmp_path / "cache"))[0]


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@needs_platform
def test_a_constant_that_changes_in_the_file_is_found_in_its_kernel(source: Path) -> None:
    assert check(small(), PHONES[0], source)[1] < 1e-6
    replace_once(source, "2.500000e+00f", "2.501000e+00f")
    with pytest.raises(GraphoptError, match=r"adreno750\.cl: kernel \w*mean\w* differs from its reference by \d"):
        check(small(), PHONES[0], source)


@needs_platform
def test_a_file_that_does_not_compile_is_refused_with_the_compilers_words(source: Path) -> None:
    replace_once(source, "x_ptr[", "y_y[")
    with pytest.raises(GraphoptError, match=r"adreno750\.cl does not compile on .*error: .*'y_y'"):
        check(small(), PHONES[0], source)


@needs_platform
def test_a_file_with_other_kernels_than_its_plan_is_refused(source: Path) -> None:
    name = next(iter(read_kernel_file(source).plan.kernels))
    replace_once(source, f"{name}(", f"{name}_2(")
    with pytest.raises(GraphoptError, match=rf"kernel {name} is missing in the file, \(half .*\) in the plan"):
        check(small(), PHONES[0], source)


@needs_platform
def test_arguments_in_another_order_are_refused(source: Path) -> None:
    name, (first, second, *_) = next(iter(read_kernel_file(source).plan.kernels.items()))
    one, two = (f"__global half* restrict {pointer.split()[1]}" for pointer in (first, second))
    replace_once(source, f"{one}, {two}", f"{two}, {one}")
    with pytest.raises(
        GraphoptError, match=rf"kernel {name} is \({second}, {first}.* in the file, \({first}, {second}"
    ):
        check(small(), PHONES[0], source)


@needs_platform
def test_the_artefact_of_another_network_is_refused(source: Path) -> None:
    with pytest.raises(GraphoptError, match="belongs to another network"):
        check(small(height=16), PHONES[0], source)
    with pytest.raises(GraphoptError, match=r"the network differs from onnxruntime .* weights"):
        check(small(seed=1), PHONES[0], source)
    with pytest.raises(GraphoptError, match=f"was built for {PHONES[0]}, not for {PHONES[1]}"):
        check(small(), PHONES[1], source)


def test_files_beside_the_source_that_do_not_fit_are_refused(source: Path) -> None:
    plan = json.loads(plan_path(source).read_text())
    plan["calls"][0]["launches"][0]["arguments"][0] = "nowhere"
    plan_path(source).write_text(json.dumps(plan))
    with pytest.raises(GraphoptError, match=r"is no plan of launches: .*\['float16'"):
        read_kernel_file(source)
    plan_path(source).write_text("{")
    with pytest.raises(GraphoptError, match=r"plan\.json is not JSON"):
        read_kernel_file(source)
    weights_path(source).unlink()
    with pytest.raises(GraphoptError, match=r"adreno750\.safetensors is missing"):
        read_kernel_file(source)


def test_weights_of_another_build_are_refused(source: Path, tmp_path: Path) -> None:
    single = load_target(PHONES[0]).with_precision("fp32")
    (tmp_path / "other").mkdir()
    other = build(small(), single, tmp_path / "other", CostCache(tmp_path / "cache"))[0]
    weights_path(source).write_bytes(weights_path(other).read_bytes())
    with pytest.raises(GraphoptError, match=r"no float16 \[4\] named b"):
        read_kernel_file(source)


@needs_platform
def test_scalars_in_memory_and_masks_of_halves(tmp_path: Path) -> None:
    """The limits of a Clip are weights of shape (), and PRelu on vectors of halves selects by shorts."""
    shape = "float[1,8,8,8]"
    text = f"""({shape} x) => ({shape} y) {{
        c = Conv<pads=[1,1,1,1]>(x, w, b) p = PRelu(c, slope) y = Clip(p, low, high) }}"""
    limits = {"low": np.float32(-0.5), "high": np.float32(1.5)}
    weights: dict[str, Any] = {"w": (8, 8, 3, 3), "b": (8,), "slope": (8, 1, 1), **limits}
    model = onnx.shape_inference.infer_shapes(onnx_model(text, weights))
    source = build(model, load_target(PHONES[0]), tmp_path, CostCache(tmp_path / "cache"))[0]
    plan = read_kernel_file(source).plan
    assert [plan.tensors[name].shape for name in plan.weights].count(()) == 2
    assert "convert_short8" in source.read_text()
    assert check(model, PHONES[0], source)[1] < 1e-6


@needs_platform
def test_a_target_in_float32_is_compiled_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl, "_HALVES_AS_FLOATS", "")
    target = load_target(PHONES[0]).with_precision("fp32")
    _, whole = check(small(), target, tmp_path / "out")
    assert whole < 1e-6


@needs_platform
def test_a_device_that_has_halves_computes_in_them(tmp_path: Path) -> None:
    """PoCL's compiler has a 16-bit float, but neither its vectors nor conversions: this network needs none."""
    shape = "float[1,4,8,8]"
    text = f"({shape} x) => ({shape} y) {{ d = Mul(x, w) y = Add(x, d) }}"
    model = onnx.shape_inference.infer_shapes(onnx_model(text, {"w": (1, 4, 1, 1)}))
    target = load_target(PHONES[0])
    source = build(model, target, tmp_path, CostCache(tmp_path))[0]
    device = Device()
    device.halves, device.prelude = True, "#define cl_amd_fp16\n#define half _Float16\n"
    checks, whole = check_kernel_file(read_kernel_file(source), model, target, device, silent)
    assert 1e-5 < max(check.difference for check in checks) < 1e-3
    assert 1e-5 < whole < 2e-3


@needs_platform
@pytest.mark.parametrize("phone", PHONES)
def test_schedules_that_tuning_draws_compute_the_same(phone: str, tmp_path: Path) -> None:
    target = load_target(phone)
    default, _ = check(small(), target, tmp_path / "default")
    records = drawn_records(small(), target, 8, CostCache(tmp_path / "cache"), silent)
    source = build_under(small(), target, tmp_path, records.get)[0]
    drawn, whole = check(small(), target, source)
    assert [check.name for check in drawn] == [check.name for check in default]
    assert source.read_text() != (tmp_path / "default" / source.name).read_text()
    assert whole < 1e-5


@needs_platform
def test_the_command_prints_each_kernel(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_CACHE", str(tmp_path / "cache"))
    onnx.save(small(), tmp_path / "small.onnx")
    call = ["verify", str(tmp_path / "small.onnx"), "--target", PHONES[0], "--json"]
    found = []
    for options in ([], ["--artefact", str(source)]):
        result = CliRunner().invoke(app, [*call, *options])
        assert result.exit_code == 0, result.output
        content = json.loads(result.stdout)
        assert content["difference"] < 1e-5
        assert all(0 <= kernel["difference"] < 1e-5 for kernel in content["kernels"])
        found.append(content)
    assert found[0] == found[1]
    result = CliRunner().invoke(app, [*call, "--artefact", str(source), "--trials", "2"])
    assert "leave one of them out" in str(result.exception)


def test_without_a_platform_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GraphoptError, match=r"pip install 'graphopt\[opencl\]'"):
        Device()


def test_a_target_without_opencl_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "nafnet-width8-sigma25", "--target", "host-tvm"])
    assert isinstance(result.exception, GraphoptError)
    assert "target host-tvm has no OpenCL kernels" in str(result.exception)


def test_an_output_that_is_no_number_is_no_small_difference() -> None:
    good, spoilt = np.ones(4, np.float32), np.array([1, np.nan, 1, 1], np.float32)
    assert _largest_difference([good, spoilt], [good, good]) == np.inf
    assert _largest_difference([good, 2 * good], [good, good]) == 1.0
