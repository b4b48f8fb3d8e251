"""The precision that a pipeline asks of its targets: who has it, what runs again, and what a search is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from npu import needs_compiler
from small_pipeline import fill, silent, write_config

from graphopt.backends.precision import InPrecision
from graphopt.backends.qnn.quantised import precision_of_price
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.run.pipeline import open_pipeline
from graphopt.run.run import Run
from graphopt.run.stage import price_keys


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precision")
    fill(folder)
    return folder


def opened(home: Path, **changes: Any) -> Run:
    return Run.open(write_config(home, **changes), home / "run", home / "cache")


def test_one_for_all_or_by_target(home: Path) -> None:
    targets = {"host-onnxruntime": 1, "android-onnxruntime": 0}
    run = opened(home, targets=targets, precision="w8a8")
    assert {name: target.precision for name, target in run.targets.items()} == dict.fromkeys(targets, "w8a8")
    run = opened(home, targets=targets, precision={"host-onnxruntime": "fp16"})
    assert {name: target.precision for name, target in run.targets.items()} == {
        "host-onnxruntime": "fp16", "android-onnxruntime": "fp32",
    }  # fmt: skip
    assert run.targets["host-onnxruntime"].dtype == "float16"


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("w8a16", "key 'precision': target host-onnxruntime has no w8a16; it has fp32, fp16 and w8a8"),
        ({"sm8650-adreno750": "w8a8"},
         "key 'precision.sm8650-adreno750': target sm8650-adreno750 has no w8a8; it has fp32 and fp16"),
    ],
)  # fmt: skip
def test_a_precision_that_a_target_does_not_have(home: Path, precision: Any, expected: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        opened(home, targets={"host-onnxruntime": 1, "sm8650-adreno750": 1}, precision=precision)
    assert str(caught.value) == f"config {home / 'pipeline.yaml'}: {expected}"


def test_another_precision_is_priced_anew(home: Path) -> None:
    keys = [price_keys(opened(home, targets={"host-onnxruntime": 1}, precision=p)) for p in ("fp32", "w8a8", "fp16")]
    assert keys[0] != keys[1] != keys[2]
    assert keys[0] == price_keys(opened(home, targets={"host-onnxruntime": 1}))


def test_the_search_prices_in_the_targets_precision(home: Path) -> None:
    run = opened(home, targets={"host-onnxruntime": 1, "android-onnxruntime": 0}, precision="w8a8")
    backends = run.backends()
    searched = run.searched(backends)
    assert list(searched) == ["host-onnxruntime"]
    assert isinstance(searched["host-onnxruntime"], InPrecision)
    assert searched["host-onnxruntime"].backend is backends["host-onnxruntime"]


@needs_compiler
def test_the_original_is_priced_in_float_and_all_else_in_integers(home: Path) -> None:
    """The stage `cost`, as a run does it."""
    changes = {"targets": {"sm8650-hexagon": 1}, "passes": ["affine-norm", "fold-affine"], "precision": "w8a8"}
    changes["exclude"] = ["encoders*", "decoders*"]  # fewer prices
    pipeline = open_pipeline(write_config(home, **changes), home / "run", home / "cache", silent)
    with pipeline.stamps.locked():
        pipeline._until("cost")
    run = pipeline.opened
    original, base = run.folder.original.read(), run.folder.table.read().base["sm8650-hexagon"]
    in_float = load_target("sm8650-hexagon")
    prices = CostCache(home / "cache" / "costs")
    before = run.folder.original_costs.read()["sm8650-hexagon"]
    assert before == open_backend(in_float, prices).price(original).total
    kept = run.folder.space.read().graph
    rewrite_everywhere(kept, run.cleanups)
    quantised = InPrecision(open_backend(run.targets["sm8650-hexagon"], prices)).price(to_model(kept))
    assert base == quantised.total
    assert precision_of_price(quantised) == "w8a8"
    assert prices.hits == 2  # both were found by the stage
