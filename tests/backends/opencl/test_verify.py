"""Generated OpenCL kernels, run on this machine's OpenCL platform (PoCL in continuous integration)."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from typer.testing import CliRunner

from graphopt.backends.opencl import platform as opencl
from graphopt.backends.opencl import verify as kernel_check
from graphopt.backends.opencl.platform import Device
from graphopt.backends.opencl.verify import check_kernels, check_network
from graphopt.backends.targets import load_target
from graphopt.cli import app
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.registry import load_pass
from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
from graphopt.ir.space_building import build_space
from graphopt.kernels.lowering import kernel_calls, to_relax
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


@needs_platform
@pytest.mark.parametrize("phone", PHONES)
def test_every_kernel_of_the_shipped_network_computes_it(shipped: onnx.ModelProto, phone: str) -> None:
    target = load_target(phone)
    checks, whole = check_network(shipped, target, Device(), silent)
    expected = kernel_calls(to_relax(shipped, target.model_copy(update={"dtype": "float32"})))
    assert {check.name for check in checks} >= {call.name for call in expected}
    assert sum(check.calls for check in checks) >= sum(call.calls for call in expected)
    assert {check.kind for check in checks} >= {"conv", "pointwise", "depthwise", "reduction", "elementwise"}
    assert whole < 1e-5


@needs_platform
@pytest.mark.parametrize("phone", PHONES)
def test_every_kernel_of_an_optimised_network_computes_it(optimised: onnx.ModelProto, phone: str) -> None:
    checks, whole = check_network(optimised, load_target(phone), Device(), silent)
    assert len(checks) > 20
    assert whole < 1e-5


SMALL = """<ir_version: 10, opset_import: ["": 20]>
small (float[1,4,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w, b) y = Mul(c, c) }"""


def small() -> onnx.ModelProto:
    model = parser.parse_model(SMALL)
    random = np.random.default_rng(0)
    for name, shape in (("w", (4, 4, 3, 3)), ("b", (4,))):
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name))
    return onnx.shape_inference.infer_shapes(model)


@needs_platform
def test_a_kernel_that_computes_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = opencl.generate

    def wrong(function: object, target: object) -> opencl.Program:
        program = made(function, target)
        return opencl.Program(program.source.replace("operand_2_ptr[", "1.001f * operand_2_ptr["), program.launches)

    monkeypatch.setattr(kernel_check, "generate", wrong)
    image = np.random.default_rng(1).random((1, 4, 8, 8), dtype=np.float32)
    with pytest.raises(GraphoptError, match=r"exynos2100-mali-g78: kernel \w+ differs from its reference by \d"):
        check_kernels(small(), load_target("exynos2100-mali-g78"), image, Device(), silent)


@needs_platform
@pytest.mark.parametrize("phone", PHONES)
def test_schedules_that_tuning_draws_compute_the_same(phone: str) -> None:
    default, _ = check_network(small(), load_target(phone), Device(), silent)
    drawn, whole = check_network(small(), load_target(phone), Device(), silent, trials=8)
    assert [check.name for check in drawn] == [check.name for check in default]
    assert whole < 1e-5


@needs_platform
def test_the_command_prints_each_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_CACHE", str(tmp_path / "cache"))
    onnx.save(small(), tmp_path / "small.onnx")
    call = ["verify", str(tmp_path / "small.onnx"), "--target", "exynos2100-mali-g78", "--json"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["difference"] < 1e-5
    assert all(0 <= kernel["difference"] < 1e-5 for kernel in content["kernels"])
    assert sum(kernel["calls"] for kernel in content["kernels"]) >= 1


def test_without_a_platform_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GraphoptError, match=r"pip install 'graphopt\[opencl\]'"):
        Device()


def test_a_target_without_opencl_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "nafnet-width8-sigma25", "--target", "host-cpu"])
    assert isinstance(result.exception, GraphoptError)
    assert "target host-cpu has no OpenCL kernels" in str(result.exception)
