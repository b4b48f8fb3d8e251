"""The nearest known name for what was typed."""

from __future__ import annotations

import pytest

from graphopt.errors import did_you_mean

TARGETS = ("exynos2100-mali-g78", "host-tvm", "sm8650-adreno750")
PASSES = ("affine-norm", "bounded-gate", "fold-affine", "resize-upsample", "transposed-upsample")


@pytest.mark.parametrize(
    ("typed", "known", "expected"),
    [
        ("sm8650", TARGETS, "sm8650-adreno750"),
        ("SM8650", TARGETS, "sm8650-adreno750"),
        ("mali", TARGETS, "exynos2100-mali-g78"),
        ("host_tvm", TARGETS, "host-tvm"),
        ("affine", PASSES, "affine-norm"),  # what starts with it, before what contains it
        ("fold", PASSES, "fold-affine"),
        ("upsample", PASSES, "resize-upsample"),  # the shorter one
        ("afine-norm", PASSES, "affine-norm"),
    ],
)
def test_near_names(typed: str, known: tuple[str, ...], expected: str) -> None:
    assert did_you_mean(typed, known) == f"did you mean '{expected}'?"


@pytest.mark.parametrize("typed", ["zzz", "", "a", "or"])
def test_far_names_list_what_is_known(typed: str) -> None:
    assert did_you_mean(typed, PASSES) == f"known: {', '.join(PASSES)}"
    assert did_you_mean(typed, ()) == "known: none"
