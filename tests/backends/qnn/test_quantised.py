"""The price of quantised networks: by hand, from the compiler, and what their calibration says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from npu import FACTS, convolution, hexagon, needs_compiler, quantised

from graphopt.backends.qnn import quantised as regression
from graphopt.backends.qnn.target import QuantisedNpuModel
from graphopt.backends.qnn.values import Values
from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost
from graphopt.errors import GraphoptError

ROOT = Path(__file__).parents[3]
CALIBRATION = Path(os.environ.get("GRAPHOPT_CALIBRATION", ROOT.parent / "shared" / "calibration"))
COUNTS = (2_000_000_000, Values(5_000_000, 1_000_000, 2_000_000, 4_000_000))  # MACs, values of each kind
RATES = {
    "per_million_convolved": 0.03,
    "per_million_scaled": 0.05,
    "per_million_border": 0.02,
    "per_million_joined": 0.01,
}


def parameters(**values: float) -> QuantisedNpuModel:
    shipped = hexagon().npu_model_quantised["w8a8"]
    changed = {name: getattr(shipped, name).model_copy(update={"value": value}) for name, value in values.items()}
    return shipped.model_copy(update=changed)


def test_a_price_by_hand() -> None:
    model = parameters(launch=0.25, per_gmac=0.1, per_megabyte=0.0125, spread=2, **RATES)
    features = regression.QuantisedFeatures.of(FACTS, *COUNTS)
    # 0.25 + 2 GMAC x 0.1 + 40 MB x 0.0125 + 5 x 0.03 + 0.05 + 2 x 0.02 + 4 x 0.01
    assert regression.price(features, model) == pytest.approx((1.23, 0.615, 2.46))
    rows = regression.breakdown(FACTS, *COUNTS, model, "w8a8")
    assert {row.name: row.ms for row in rows} == pytest.approx(
        {
            **{"launch": 0.25, "arithmetic": 0.2, "memory": 0.5},
            **{"convolved": 0.15, "scaled": 0.05, "border": 0.04, "joined": 0.04},
        }
    )


def test_a_price_says_its_features() -> None:
    rows = regression.breakdown(FACTS, *COUNTS, parameters(), "w8a16")
    cost = NetworkCost(1, 1, 1, "estimated", COUNTS[0], 0, 0, kernels=rows)
    assert regression.QuantisedFeatures.of_price(cost) == regression.QuantisedFeatures.of(FACTS, *COUNTS)


def test_a_part_is_exchanged_without_its_launch() -> None:
    model = parameters(launch=0.25, per_gmac=0.1)

    def priced(gmac: int) -> NetworkCost:
        counts = (gmac * 10**9, Values(0, 0, 0, 0))
        rows = regression.breakdown(FACTS, *counts, model, "w8a8")
        bounds = regression.price(regression.QuantisedFeatures.of(FACTS, *counts), model)
        return NetworkCost(*bounds, "estimated", counts[0], 0, 0, kernels=rows)

    assert regression.exchanged_ms(priced(5), priced(2)) == pytest.approx(-0.3)
    assert regression.precision_of_price(priced(1)) == "w8a8"


def test_a_precision_that_a_target_does_not_have_is_named() -> None:
    target = hexagon().model_copy(update={"npu_model_quantised": {}})
    with pytest.raises(GraphoptError, match="has no price for a network in w8a16, only for float16"):
        regression.model_of(target, "w8a16")


@needs_compiler
@pytest.mark.parametrize(("activations", "precision"), [("uint8", "w8a8"), ("uint16", "w8a16")])
def test_a_qdq_graph_is_priced_in_its_own_precision(tmp_path: Path, activations: str, precision: str) -> None:
    backend = open_backend(hexagon(), CostCache(tmp_path))
    cost = backend.price(quantised(activations))
    assert regression.precision_of_price(cost) == precision
    assert [row.name for row in cost.kernels] == [
        "launch",
        "arithmetic",
        "memory",
        "convolved",
        "scaled",
        "border",
        "joined",
    ]
    assert cost.kernels[1].macs == 32 * 32 * 9 * 32 * 32
    launch = hexagon().npu_model_quantised[precision].launch.value
    assert launch < cost.latency_ms < launch + 0.1
    ratio = backend.compare(convolution(), quantised(activations))
    assert ratio.low < ratio.value < ratio.high


@needs_compiler
def test_a_qdq_graph_becomes_a_context_that_takes_float32(tmp_path: Path) -> None:
    artefact = open_backend(hexagon(), CostCache(tmp_path / "cache")).build(quantised("uint8"), tmp_path)
    assert artefact.refusal == ""
    graph = onnx.load(artefact.files[0]).graph
    assert [node.op_type for node in graph.node] == ["EPContext"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.skipif(not CALIBRATION.exists(), reason="no measured latencies: set GRAPHOPT_CALIBRATION to their folder")
def test_the_target_holds_what_the_benchmark_fits() -> None:
    command = [
        sys.executable,
        ROOT / "benchmarks/cost.py",
        "--only",
        "npu-int8",
        "--json",
        "--calibration",
        CALIBRATION,
    ]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["npu_w8a8"]["rows"] == 36
    assert found["npu_w8a16"]["rows"] == 15
    assert found["npu_w8a8"]["leave_one_out_error_with_those_apart"] <= 0.15
    assert found["npu_w8a16"]["leave_one_out_error_with_those_apart"] <= 0.2
    for precision, model in hexagon().npu_model_quantised.items():
        figures = found[f"npu_{precision}"]
        assert figures["leave_one_out_error"] <= 0.125
        assert figures["leave_one_out_median_error"] <= 0.08
        assert figures["leave_one_out_error"] < figures["leave_one_out_error_of_forms"]["macs_alone"] / 2.5
        assert model.spread.value == pytest.approx(figures["spread"], rel=0.02)
        for name, value in figures["parameters"].items():
            assert getattr(model, name).value == pytest.approx(value, rel=5e-3, abs=1e-9), name
