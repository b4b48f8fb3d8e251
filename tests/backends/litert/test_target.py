"""What a file of a LiteRT target may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tflite import litert_target

from graphopt.backends.targets import load_target


def test_a_gpu_is_on_a_phone() -> None:
    with pytest.raises(ValidationError, match="the delegate 'gpu' runs on a phone: expected 'device: android'"):
        litert_target(delegate="gpu")
    assert litert_target("android-litert-gpu").delegate == "gpu"


def test_what_prepares_a_network_is_exact() -> None:
    with pytest.raises(ValidationError, match="pass 'affine-norm' is not exact, and would change what was tuned"):
        litert_target(prepare=["affine-norm"])


def test_weights_are_in_half_precision_on_the_gpu_alone() -> None:
    assert {name: load_target(name).dtype for name in ("host-litert", "android-litert-gpu")} == {
        "host-litert": "float32", "android-litert-gpu": "float16",
    }  # fmt: skip
