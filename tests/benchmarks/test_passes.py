"""The benchmark of the pattern engine on a small network: its figures are there and it counts right. Never a time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from graphs import nafnet

from graphopt import GraphoptError
from graphopt.ir.canonical import to_model


@pytest.fixture(scope="module")
def passes() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "passes.py"
    spec = importlib.util.spec_from_file_location("benchmarks_passes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up postponed annotations there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return to_model(nafnet())


def test_figures_and_counts(passes: ModuleType, model: onnx.ModelProto) -> None:
    figures = passes.measure(model, blocks=3, runs=1, sizes=(110, 300))
    times = {
        "match_layernorm_ms", "match_block_ms", "rewrite_layernorm_ms", "onnxscript_rewrite_layernorm_ms",
        "load_passes_save_s",
    }  # fmt: skip
    assert {"nodes", "layernorms", "blocks", "exact_rewrites", "growth", *times} == set(figures)
    assert all(figures[key] > 0 for key in times)
    assert (figures["nodes"], figures["layernorms"], figures["blocks"]) == (len(model.graph.node), 6, 3)
    # each block: beta and gamma, and the scale and shift of both norms
    assert figures["exact_rewrites"] == {"transposed-upsample": 1, "fold-affine": 18}
    assert [row["nodes"] for row in figures["growth"]["sizes"]] == [110, 297]
    assert figures["growth"]["ratio"] > 0


def test_engines_that_do_not_do_the_same_are_an_error(passes: ModuleType, model: onnx.ModelProto) -> None:
    with pytest.raises(GraphoptError, match=r"expected 8 norms and 4 blocks, found 6 and 3; rewritten: "):
        passes.measure(model, blocks=4, runs=1, sizes=(110,))
