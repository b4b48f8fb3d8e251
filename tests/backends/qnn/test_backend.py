"""The NPU: the compiler's log, the regression, and, where onnxruntime-qnn is installed, real compiles."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import yaml
from graphs import Call
from onnx import numpy_helper
from PIL import Image

from graphopt.backends.breakdown import break_down
from graphopt.backends.compiled import compile_network
from graphopt.backends.pricing import network_cost
from graphopt.backends.qnn import compiler as npu_compile
from graphopt.backends.qnn.compiler import compile_npu, compiler_version
from graphopt.backends.qnn.log import CompiledFacts, parse_log
from graphopt.backends.qnn.regression import breakdown, exchanged_ms, price
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost
from graphopt.cost.target import Target, load_target
from graphopt.errors import GraphoptError
from graphopt.kernels.keys import compile_key, price_key
from graphopt.run.pipeline import open_pipeline

ROOT = Path(__file__).parents[3]
CALIBRATION = (
    Path(os.environ.get("GRAPHOPT_CALIBRATION", ROOT.parent / "shared" / "calibration"))
    / "sm8650_npu_fp16_compiled_vs_measured.csv"
)
needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason="onnxruntime-qnn is not installed (graphopt[qnn])"
)
LOG = """\
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] supertile.cc:366:num_supertiles = 3
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] supertile.cc:367:num_subtiles = 10
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] options.cc:150:Option: supertile_max_size_kb = 256
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] spill_bytes=100
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] fill_bytes=200
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] write_total_bytes=3000
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] read_total_bytes=4000
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] x.cc:1:finalize_runlist: in_runlist=67, runlist = 59 + 22 vec + 5 mtx + 0 elt
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] <V> spillFillBufferSizes=7
"""
ALL_PLACED = "[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]  All nodes placed on [QNNExecutionProvider]. Number of nodes: 1\n"
PARTLY_PLACED = """\
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp] Node placements
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on [QNNExecutionProvider]. Number of nodes: 2
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]   QNNExecutionProvider_1 (QNNExecutionProvider_QNNExecutionProvider_1_0)
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on [CPUExecutionProvider]. Number of nodes: 1
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]   Celu (head (old)/Celu_2)
"""
FACTS = CompiledFacts(30_000_000, 10_000_000, 2_000_000, 4_000_000, 100, 59, 22, 5, graphs=1)


def network(nodes: str, name: str = "g", **weights: tuple[int, ...]) -> onnx.ModelProto:
    image = "float[1,16,32,32]"
    made = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 20]> {name} ({image} x) => ({image} y) {{ {nodes} }}'
    )
    generator = np.random.default_rng(0)
    for key, shape in weights.items():
        values = generator.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, key))
    for index, node in enumerate(made.graph.node):
        node.name = f"block/{node.op_type}_{index}"
    return made


def convolution() -> onnx.ModelProto:
    return network(
        "a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) y = Relu(a)", "small", w=(16, 16, 3, 3), b=(16,)
    )


def refused() -> onnx.ModelProto:
    """Celu between two convolutions: the NPU has no such op."""
    conv = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>"
    return network(f"a = {conv}(x, w) c = Celu(a) y = {conv}(c, w)", w=(16, 16, 3, 3))


def hexagon(**compiler: Any) -> Target:
    target = load_target("sm8650-hexagon")
    assert target.npu_compiler is not None
    return target.model_copy(update={"npu_compiler": target.npu_compiler.model_copy(update=compiler)})


def with_parameters(**values: float) -> Target:
    target = load_target("sm8650-hexagon")
    model = target.npu_model
    assert model is not None
    changed = {name: getattr(model, name).model_copy(update={"value": value}) for name, value in values.items()}
    return target.model_copy(update={"npu_model": model.model_copy(update=changed)})


def test_a_log_of_one_graph() -> None:
    facts = parse_log((LOG + ALL_PLACED).splitlines())
    assert facts == CompiledFacts(4000, 3000, 100, 200, 3, 59, 22, 5, graphs=1)
    assert CompiledFacts.from_dict(facts.to_dict()) == facts


def test_a_log_of_two_graphs_is_summed_and_names_what_was_refused() -> None:
    facts = parse_log((LOG + LOG + PARTLY_PLACED).splitlines())
    assert facts == CompiledFacts(8000, 6000, 200, 400, 6, 118, 44, 10, 2, refused=("Celu (head (old)/Celu_2)",))


@pytest.mark.parametrize("missing", ["num_supertiles = ", "read_total_bytes", "spill_bytes", "runlist = ", "placed on"])
def test_a_log_that_lacks_a_count_is_not_understood(missing: str) -> None:
    lines = [line for line in (LOG + ALL_PLACED).splitlines() if missing not in line]
    assert parse_log(lines) is None


def test_a_price_by_hand() -> None:
    target = with_parameters(
        launch=0.25, per_gmac=0.1, per_megabyte=0.0125, per_supertile=0.03, supertile_exponent=0.5,
        calibrated_supertiles=100, spread=1.5, spread_beyond=4,
    )  # fmt: skip
    # 0.25 + 2 GMAC x 0.1 + 40 MB x 0.0125 + sqrt(100) x 0.03
    assert price(FACTS, 2_000_000_000, target) == pytest.approx((1.25, 1.25 / 1.5, 1.25 * 1.5))
    rows = breakdown(FACTS, 2_000_000_000, target)
    assert [(row.name, row.ms) for row in rows] == [
        ("launch", pytest.approx(0.25)),
        ("arithmetic", pytest.approx(0.2)),
        ("memory", pytest.approx(34 * 0.0125)),
        ("spills", pytest.approx(6 * 0.0125)),
        ("supertiles", pytest.approx(0.3)),
    ]
    assert (rows[1].macs, rows[2].bytes_read, rows[2].bytes_written) == (2_000_000_000, 26_000_000, 8_000_000)
    assert (rows[3].bytes_read, rows[3].bytes_written) == (4_000_000, 2_000_000)


def test_a_part_of_a_network_is_exchanged() -> None:
    """The launch goes out of the difference, spills stay as they are in the whole, and supertiles add up."""
    target = with_parameters(launch=0.25, per_gmac=0.1, per_megabyte=0.0125, per_supertile=0.03, supertile_exponent=0.5)

    def priced(megabytes: int, spilled: int, supertiles: int, gmac: int) -> NetworkCost:
        spills = spilled * 1_000_000
        facts = CompiledFacts(megabytes * 1_000_000, spills, spills, 0, supertiles, 0, 0, 0, graphs=1)
        counts = (gmac * 10**9, 0, 0)
        return NetworkCost(
            *price(facts, counts[0], target), "estimated", *counts, kernels=breakdown(facts, counts[0], target)
        )

    whole, kept, put = priced(100, 7, 100, 5), priced(10, 3, 40, 2), priced(6, 1, 4, 1)
    # 64 supertiles are left of 100, 4 MB less and 1 GMAC less
    assert exchanged_ms(whole, kept, put, target) == pytest.approx(-4 * 0.0125 - 0.1 - (10 - 8) * 0.03)
    assert exchanged_ms(whole, kept, kept, target) == 0


def test_the_band_is_wider_where_nothing_was_calibrated() -> None:
    target = with_parameters(calibrated_supertiles=99, spread=1.5, spread_beyond=4)
    middle, low, high = price(FACTS, 0, target)
    assert (middle / low, high / middle) == pytest.approx((4, 4))


def test_only_an_npu_has_a_regression() -> None:
    with pytest.raises(GraphoptError, match="target host-cpu is no NPU"):
        price(FACTS, 0, load_target("host-cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["npu_model"]["per_gmac"].pop("source"), r"'npu_model\.per_gmac\.source' is missing"),
        (lambda c: c["npu_model"]["launch"].update(unit="us"), "'launch' is given in 'us', expected 'ms'"),
        (lambda c: c["npu_model"]["spread"].update(value=0.9), "at least 1"),
        (lambda c: c["npu_model"]["supertile_exponent"].update(value=1.5), "above 0 and at most 1"),
        (lambda c: c["npu_model"]["per_supertile"].update(value=-1), "greater than or equal to 0"),
        (lambda c: c.pop("npu_compiler"), "a qnn target, and no other, has 'npu_compiler'"),
        (lambda c: c.update(device="mali"), "'device' hexagon"),
        (lambda c: c.update(kind="opencl"), "a qnn target, and no other"),
        (lambda c: c.update(dtype="float32"), "computes in 'float16'"),
    ],
)
def test_mistakes_in_the_yaml_are_named(tmp_path: Path, change: Any, message: str) -> None:
    content = yaml.safe_load((ROOT / "targets" / "sm8650-hexagon.yaml").read_text())
    change(content)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(GraphoptError, match=message):
        load_target(str(path))


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
        network_cost(convolution(), hexagon(), CostCache(tmp_path))


def test_a_pipeline_says_so_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _version(monkeypatch, None)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "photos" / "0.png")
    content = {
        "model": "nafnet-width8-sigma25",
        "data": {"train": ["photos"], "test": ["photos"]},
        "passes": ["affine-norm"],
        "targets": {"sm8650-hexagon": 0, "host-cpu": 1},
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


def _benchmark() -> Any:
    path = ROOT / "benchmarks" / "costs" / "npu.py"
    spec = importlib.util.spec_from_file_location("benchmarks_costs_npu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_fit_finds_the_parameters_of_noiseless_rows() -> None:
    benchmark = _benchmark()
    generator = np.random.default_rng(0)
    rest, base = generator.random((10, 3)), 1 + 9 * generator.random(10)
    matrices = [np.column_stack([np.ones(10), rest[:, :2], base**power]) for power in (0.5, 0.75, 1.0)]
    parameters = np.array([0.3, 0.1, 0.0, 0.02])  # one is at the bound
    measured = matrices[1] @ parameters
    found, best = benchmark.fit(matrices, measured, np.ones(10, dtype=bool))
    assert (found, best) == (pytest.approx(parameters, abs=1e-12), 1)
    assert benchmark.leave_one_out(matrices, measured) == pytest.approx(np.ones(10))
    measured[3] *= 2  # a row that the others do not explain is not in its own fit
    assert benchmark.leave_one_out(matrices, measured)[3] == pytest.approx(0.5)


@pytest.mark.skipif(not CALIBRATION.exists(), reason="no measured latencies: set GRAPHOPT_CALIBRATION to their folder")
def test_leave_one_out_error() -> None:
    figures = _benchmark().measure(CALIBRATION)
    assert figures["npu_leave_one_out_error"] <= 0.1
    model = load_target("sm8650-hexagon").npu_model
    assert model is not None
    for name, value in figures["npu_parameters"].items():
        assert getattr(model, name).value == pytest.approx(value, rel=5e-3), name
    assert model.spread.value == pytest.approx(figures["npu_spread"], rel=0.02)
    assert model.calibrated_supertiles.value == figures["npu_most_supertiles"]


@needs_compiler
def test_a_convolution_is_compiled_and_its_price_kept(tmp_path: Path) -> None:
    cache, target = CostCache(tmp_path), hexagon()
    facts, files = compile_npu(convolution(), target)
    assert files == []
    assert facts.read_bytes >= 2 * (16 * 32 * 32 + 16 * 16 * 9)  # the image and the weights, in halves
    assert facts.written_bytes >= 2 * 16 * 32 * 32
    assert (facts.graphs, facts.refused, facts.spilled_bytes) == (1, (), 0)
    assert facts.supertiles > 0
    cost = network_cost(convolution(), target, cache)
    assert (cost.latency_ms, cost.low_ms, cost.high_ms) == pytest.approx(price(facts, 16 * 16 * 9 * 32 * 32, target))
    assert (cost.provenance, cost.macs) == ("estimated", 16 * 16 * 9 * 32 * 32)
    assert NetworkCost.from_dict(cost.to_dict()) == cost
    parts = break_down(cost, target, convolution(), cache)
    assert parts is not None
    assert (parts.limit_ms, parts.kinds, parts.blocks, parts.kernels) == (None, (), (), cost.kernels)


@needs_compiler
def test_new_parameters_compile_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CostCache(tmp_path)
    before = network_cost(convolution(), hexagon(), cache)
    monkeypatch.setattr(npu_compile, "compile_npu", None)
    after = network_cost(convolution(), with_parameters(launch=10), cache)
    assert after.latency_ms > before.latency_ms + 9


@needs_compiler
def test_what_is_in_the_keys() -> None:
    made, target = convolution(), hexagon()
    assert compile_key(made, hexagon(time_limit_s=5)) == compile_key(made, target)
    assert compile_key(made, hexagon(htp_arch=73)) != compile_key(made, target)
    assert price_key(made, with_parameters(launch=10), 0) != price_key(made, target, 0)


@needs_compiler
def test_an_empty_graph_costs_a_launch(tmp_path: Path) -> None:
    """Else a candidate that leaves out all of its context would seem to save a launch."""
    text = '<ir_version: 9, opset_import: ["" : 20]> g (float[1,4] y) => (float[1,4] y) { }'
    cost = network_cost(onnx.parser.parse_model(text), hexagon(), CostCache(tmp_path))
    model = hexagon().npu_model
    assert model is not None
    assert cost.latency_ms == model.launch.value


@needs_compiler
def test_refused_ops_are_named_and_the_parts_are_priced(tmp_path: Path) -> None:
    cache, target = CostCache(tmp_path), hexagon()
    cost = network_cost(refused(), target, cache)
    assert [row.name for row in cost.kernels if row.kind == "refused"] == ["Celu (block/Celu_1)"]
    model = target.npu_model
    assert model is not None
    assert cost.kernels[0].ms == pytest.approx(2 * model.launch.value)
    assert compile_network(refused(), target, tmp_path / "compiled", cache) == []


@needs_compiler
def test_refused_ops_are_said_to_people(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_CACHE", str(tmp_path / "cache"))
    onnx.save(refused(), tmp_path / "refused.onnx")
    status, out, _ = call("cost", tmp_path / "refused.onnx", "--target", "sm8650-hexagon")
    first, second = out.splitlines()
    assert (status, first.partition(" ")[0]) == (0, "sm8650-hexagon:")
    assert second == "  a lower bound: refused by the NPU, and not priced: Celu (block/Celu_1)"


@needs_compiler
def test_the_context_binary_for_the_phone(tmp_path: Path) -> None:
    files = compile_network(convolution(), hexagon(), tmp_path / "compiled", CostCache(tmp_path))
    assert [path.name for path in files] == ["sm8650-hexagon.onnx", "sm8650-hexagon_qnn.bin"]
    (node,) = onnx.load(files[0]).graph.node
    attributes = {attribute.name: attribute for attribute in node.attribute}
    assert (node.op_type, attributes["ep_cache_context"].s) == ("EPContext", b"sm8650-hexagon_qnn.bin")
    assert files[1].stat().st_size > 1000


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
