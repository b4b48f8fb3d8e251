"""Precisions of a target's file and of a pipeline: the type of floats, what a backend has, and old files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from configs import PIPELINE, message, read

from graphopt.backends.onnxruntime.backend import OnnxRuntimeBackend
from graphopt.backends.registry import backend_class
from graphopt.backends.targets import in_precision, load_target
from graphopt.config.precision import is_integer
from graphopt.cost.keys import figures_of
from graphopt.errors import GraphoptError

ROOT = Path(__file__).parents[2]


def with_key(folder: Path, target: str, **keys: Any) -> str:
    """The path of a target's file with other keys; one that is None is left out."""
    content = {**yaml.safe_load((ROOT / "targets" / f"{target}.yaml").read_text()), **keys}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return str(path)


@pytest.mark.parametrize(
    ("target", "precision", "dtype", "size"),
    [
        ("host-onnxruntime", "fp32", "float32", 4), ("host-onnxruntime", "fp16", "float16", 2),
        ("host-onnxruntime", "w8a8", "float32", 4), ("sm8650-hexagon", "fp16", "float16", 2),
        ("sm8650-hexagon", "w8a8", "float16", 2), ("sm8650-hexagon", "w8a16", "float16", 2),
    ],
)  # fmt: skip
def test_a_precision_has_a_type_of_floats(target: str, precision: str, dtype: str, size: int, tmp_path: Path) -> None:
    found = load_target(with_key(tmp_path, target, precision=precision))
    assert (found.precision, found.dtype, found.bytes_per_element) == (precision, dtype, size)
    assert is_integer(found.precision) == precision.startswith("w")


def test_prices_are_kept_under_the_type_of_floats() -> None:
    """The original's price in float is that of the target, whatever its candidates are priced in."""
    plain = load_target("host-onnxruntime")
    assert figures_of(plain) == figures_of(plain.with_precision("w8a8"))
    assert figures_of(plain)["dtype"] == "float32"
    assert figures_of(plain) != figures_of(plain.with_precision("fp16"))
    assert plain.precision == "fp32"


@pytest.mark.parametrize(
    ("kind", "precisions"),
    [
        ("onnxruntime", {"fp32", "fp16", "w8a8"}), ("qnn", {"fp16", "w8a8", "w8a16"}), ("llvm", {"fp32"}),
        ("opencl", {"fp32", "fp16"}), ("mnn", {"fp32", "fp16"}),
    ],
)  # fmt: skip
def test_what_a_backend_has(kind: str, precisions: set[str]) -> None:
    assert set(backend_class(kind).precisions()) == precisions


@pytest.mark.parametrize(
    ("target", "keys", "expected"),
    [
        ("host-onnxruntime", {"precision": "w8a16"},
         "key 'precision': w8a16: a target of kind 'onnxruntime' has fp32, fp16 and w8a8"),
        ("host-tvm", {"precision": "fp16"}, "key 'precision': fp16: a target of kind 'llvm' has fp32 alone"),
        ("host-tvm", {"precision": None},
         "key 'precision': fp16, which stands for it where it is missing: a target of kind 'llvm' has fp32 alone"),
        ("host-onnxruntime", {"precision": None, "dtype": "float32"},
         "key 'dtype' is now called 'precision': write 'precision: fp32' in its place"),
        ("sm8650-hexagon", {"dtype": "int8"},
         "key 'dtype' is now called 'precision': write 'precision: fp32, fp16, w8a16 or w8a8' in its place"),
        ("host-onnxruntime", {"precision": "int8"},
         "key 'precision': Input should be 'fp32', 'fp16', 'w8a16' or 'w8a8', found 'int8'"),
    ],
)  # fmt: skip
def test_mistakes_in_a_targets_file(target: str, keys: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = with_key(tmp_path, target, **keys)
    with pytest.raises(GraphoptError) as caught:
        load_target(path)
    assert str(caught.value) == f"config {path}: {expected}"


def test_what_a_target_does_not_have_is_refused() -> None:
    with pytest.raises(GraphoptError) as caught:
        in_precision(load_target("exynos2100-mali-g78"), "w8a8", "config p.yaml: key 'precision'")
    assert str(caught.value) == (
        "config p.yaml: key 'precision': target exynos2100-mali-g78 has no w8a8; it has fp32 and fp16"
    )


def test_a_backend_of_ones_own_has_floats() -> None:
    class Plain(OnnxRuntimeBackend):
        integers = ""

    assert Plain.precisions() == ("fp32", "fp16")


def test_a_pipeline_says_it_for_all_or_by_target(tmp_path: Path) -> None:
    assert read(tmp_path, PIPELINE).precision == {}
    assert read(tmp_path, {**PIPELINE, "precision": "w8a8"}).precision == "w8a8"
    assert read(tmp_path, {**PIPELINE, "precision": {"host-tvm": "fp32"}}).precision == {"host-tvm": "fp32"}
    said = message(tmp_path, {**PIPELINE, "precision": {"host-tv": "fp32"}})
    assert said.endswith("key 'precision.host-tv': 'targets' lists no such target; did you mean 'host-tvm'?")
    said = message(tmp_path, {**PIPELINE, "precision": "int8"})
    assert said.endswith(
        "key 'precision': expected one of fp32, fp16, w8a16, w8a8, or one for each target, found 'int8'"
    )
    said = message(tmp_path, {**PIPELINE, "precision": {"host-tvm": "int8"}})
    assert said.endswith("expected one of fp32, fp16, w8a16, w8a8 for target 'host-tvm', found 'int8'")
    assert message(tmp_path, {**PIPELINE, "precision": []}).endswith("or one for each target, found []")
