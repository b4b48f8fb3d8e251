"""What a file of a LiteRT target may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tflite import litert_target

from graphopt.backends.targets import load_target
from graphopt.errors import GraphoptError


def test_a_gpu_is_on_a_phone() -> None:
    with pytest.raises(ValidationError, match="the delegate 'gpu' runs on a phone: expected 'device: android'"):
        litert_target(delegate="gpu")
    assert litert_target("android-litert-gpu").delegate == "gpu"


def test_a_gpu_has_no_integers() -> None:
    with pytest.raises(ValidationError, match="the delegate 'gpu' computes in floats: expected 'precision: fp32 or"):
        litert_target("android-litert-gpu", precision="w8a8")
    with pytest.raises(GraphoptError, match="target android-litert-gpu has no w8a8: LiteRT's GPU delegate computes in"):
        litert_target("android-litert-gpu").with_precision("w8a8")
    assert litert_target().with_precision("w8a8").dtype == "float32"


def test_what_prepares_a_network_is_exact() -> None:
    with pytest.raises(ValidationError, match="pass 'affine-norm' is not exact, and would change what was tuned"):
        litert_target(prepare=["affine-norm"])


def test_weights_are_in_half_precision_on_the_gpu_alone() -> None:
    assert {name: load_target(name).dtype for name in ("host-litert", "android-litert-gpu")} == {
        "host-litert": "float32", "android-litert-gpu": "float16",
    }  # fmt: skip
