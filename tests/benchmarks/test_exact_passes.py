"""The benchmark of exact passes on a small network: a row for each pass that has a site, and what gains is kept."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from graphs import nafnet

from graphopt.cost.ratio import Ratio
from graphopt.ir.canonical import to_model
from graphopt.ir.quantised import is_quantised


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "exact_passes.py"
    spec = importlib.util.spec_from_file_location("benchmarks_exact_passes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def by_nodes(before: onnx.ModelProto, after: onnx.ModelProto) -> Ratio:
    """As if every node took as long as any other."""
    value = len(before.graph.node) / len(after.graph.node)
    return Ratio(value, value, value, "estimated")


def test_rows_and_what_gains_together(benchmark: ModuleType) -> None:
    names = ("fused-layer-norm", "split-convolution", "pointwise-mean", "plain-layer-norm")
    rules = {name: rule for name, rule in benchmark.exact_passes().items() if name in names}
    said: list[str] = []
    rows, best = benchmark.measure(to_model(nafnet()), rules, by_nodes, said.append)
    assert {name: row.get("sites") for name, row in rows.items()} == {
        "fused-layer-norm": 6, "split-convolution": 6, "pointwise-mean": 12, "together": None,
    }  # fmt: skip
    assert rows["fused-layer-norm"]["value"] > 1 > rows["split-convolution"]["value"]
    assert rows["pointwise-mean"]["value"] == 1
    assert rows["together"]["passes"] == ["fused-layer-norm"]
    assert all(row["difference"] < 1e-5 for row in rows.values())
    assert len(said) == 4
    assert [node.op_type for node in best.graph.node].count("LayerNormalization") == 6


def test_every_exact_pass_takes_part(benchmark: ModuleType) -> None:
    assert {"split-convolution", "pointwise-layer-norm", "merge-depthwise"} <= set(benchmark.exact_passes())
    assert not {"affine-norm", "fold-affine", "slices-to-split"} & set(benchmark.exact_passes())


def test_it_compares_quantised_networks(benchmark: ModuleType) -> None:
    said: list[tuple[bool, bool]] = []

    def compare(before: onnx.ModelProto, after: onnx.ModelProto) -> Ratio:
        said.append((is_quantised(before), is_quantised(after)))
        return by_nodes(before, after)

    model = to_model(nafnet())
    benchmark.in_integers(compare)(model, model)
    assert said == [(True, True)]


def test_it_measures_here(benchmark: ModuleType) -> None:
    model = to_model(nafnet())
    ratio = benchmark.here(0.1)(model, model)
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.provenance == "measured"
