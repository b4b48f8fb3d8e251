"""The NPU, where onnxruntime-qnn is installed: real compiles, their prices, and what a phone loads."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest
from graphs import Call
from npu import convolution, hexagon, needs_compiler, network, refused, with_parameters

from graphopt.backends.qnn.compiler import compile_npu
from graphopt.backends.qnn.regression import price
from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost


@needs_compiler
def test_a_convolution_is_compiled_and_its_price_kept(tmp_path: Path) -> None:
    target = hexagon()
    backend = open_backend(target, CostCache(tmp_path))
    facts, files = compile_npu(convolution(), target)
    assert files == []
    assert facts.read_bytes >= 2 * (16 * 32 * 32 + 16 * 16 * 9)  # the image and the weights, in halves
    assert facts.written_bytes >= 2 * 16 * 32 * 32
    assert (facts.graphs, facts.refused, facts.spilled_bytes) == (1, (), 0)
    assert facts.supertiles > 0
    cost = backend.price(convolution())
    assert (cost.latency_ms, cost.low_ms, cost.high_ms) == pytest.approx(price(facts, 32 * 32 * 9 * 32 * 32, target))
    assert (cost.provenance, cost.macs) == ("estimated", 16 * 16 * 9 * 32 * 32)
    assert NetworkCost.from_dict(cost.to_dict()) == cost
    parts = backend.break_down(cost, convolution())
    assert parts is not None
    assert (parts.limit_ms, parts.kinds, parts.blocks, parts.kernels) == (None, (), (), cost.kernels)


@needs_compiler
def test_new_parameters_compile_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CostCache(tmp_path)
    before = open_backend(hexagon(), cache).price(convolution())
    monkeypatch.setattr("graphopt.backends.qnn.backend.compile_npu", None)
    after = open_backend(with_parameters(launch=10), cache).price(convolution())
    assert after.latency_ms > before.latency_ms + 9


@needs_compiler
def test_what_is_in_the_keys(tmp_path: Path) -> None:
    made, cache = convolution(), CostCache(tmp_path)
    backend = open_backend(hexagon(), cache)
    assert open_backend(hexagon(time_limit_s=5), cache).compile_key(made) == backend.compile_key(made)
    assert open_backend(hexagon(htp_arch=73), cache).compile_key(made) != backend.compile_key(made)
    assert open_backend(with_parameters(launch=10), cache).key() != backend.key()


@needs_compiler
def test_an_empty_graph_costs_a_launch(tmp_path: Path) -> None:
    """Else a candidate that leaves out all of its context would seem to save a launch."""
    text = '<ir_version: 9, opset_import: ["" : 20]> g (float[1,4] y) => (float[1,4] y) { }'
    cost = open_backend(hexagon(), CostCache(tmp_path)).price(onnx.parser.parse_model(text))
    model = hexagon().npu_model
    assert cost.latency_ms == model.launch.value


@needs_compiler
def test_refused_ops_are_named_and_the_parts_are_priced(tmp_path: Path) -> None:
    target = hexagon()
    backend = open_backend(target, CostCache(tmp_path))
    cost = backend.price(refused())
    assert [row.name for row in cost.kernels if row.kind == "refused"] == ["Celu (block/Celu_1)"]
    model = target.npu_model
    assert cost.kernels[0].ms == pytest.approx(2 * model.launch.value)
    artefact = backend.build(refused(), tmp_path)
    assert (artefact.files, artefact.refusal) == ((), "the NPU refuses Celu (block/Celu_1)")


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
    artefact = open_backend(hexagon(), CostCache(tmp_path / "cache")).build(convolution(), tmp_path)
    files = artefact.files
    image = {"name": "x", "layout": "NCHW", "shape": [1, 16, 32, 32], "dtype": "float32", "range": [0.0, 1.0]}
    assert artefact.manifest["inputs"] == [{**image, "quantisation": None}]
    assert [path.name for path in files] == ["sm8650-hexagon.onnx", "sm8650-hexagon_qnn.bin"]
    (node,) = onnx.load(files[0]).graph.node
    attributes = {attribute.name: attribute for attribute in node.attribute}
    assert (node.op_type, attributes["ep_cache_context"].s) == ("EPContext", b"sm8650-hexagon_qnn.bin")
    assert files[1].stat().st_size > 1000


@needs_compiler
def test_two_networks_share_what_the_regression_does_not_know(tmp_path: Path) -> None:
    backend = open_backend(hexagon(), CostCache(tmp_path))
    before, after = convolution(), network("y = Relu(x)")
    same, found = backend.compare(before, before), backend.compare(before, after)
    assert (same.value, same.low, same.high) == (1, 1, 1)
    assert found.value == backend.price(before).latency_ms / backend.price(after).latency_ms
    assert found.low < found.value < found.high < 1.61**2 * found.value
