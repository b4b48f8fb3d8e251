"""What the GPU delegate takes, read from the .tflite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tflite import needs_runtime, tflite

from graphopt.backends.litert.flatbuffer import write
from graphopt.backends.litert.profile import CURES, TAKES, offenders
from graphopt.ir.contract import Contract
from graphopt.ir.registry import pass_class

IMAGE = (1, 8, 8, 4)


def one(kind: str, inputs: tuple[Any, ...] = (IMAGE,), output: Any = IMAGE) -> list[str]:
    """What is wrong with one operator, whose inputs are x0, x1, ... and whose output comes from block/node."""
    named = {f"x{i}": given for i, given in enumerate(inputs)}
    model = tflite([(kind, list(named), ["block/node;2"])], {**named, "block/node;2": output}, ["x0"], ["block/node;2"])
    return [str(offender) for offender in offenders(write(model))]


@needs_runtime
@pytest.mark.parametrize("name", sorted(TAKES))
def test_what_it_takes_up_to_which_version(name: str) -> None:
    assert one(f"{name}:{TAKES[name]}") == []
    found = f"{name} at block/node: version {TAKES[name] + 1} of it, and the GPU delegate takes {TAKES[name]} at most"
    assert [line.partition(" (")[0] for line in one(f"{name}:{TAKES[name] + 1}")] == [found]


@needs_runtime
@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("GATHER_ND", ""),
        ("RELU_0_TO_1", ""),
        ("SPLIT", " (pass split-convolution)"),
        ("SELECT", " (pass plain-prelu)"),
        ("SELECT_V2", " (pass plain-prelu)"),
    ],
)
def test_what_it_does_not_take(name: str, cure: str) -> None:
    assert one(name) == [f"{name} at block/node: the GPU delegate has no such operator{cure}"]


@needs_runtime
def test_ranks_types_and_one_tensor_twice() -> None:
    assert one("RESHAPE", ((1, 2, 2, 4, 4, 4),)) == [
        "RESHAPE at block/node: a tensor of rank 6, and the GPU delegate takes 4 at most"
    ]
    assert one("ADD", (((IMAGE), "INT64"),)) == [
        "ADD at block/node: it computes with INT64, and the GPU delegate with floats alone"
    ]
    assert one("TRANSPOSE", (IMAGE, np.array([0, 3, 1, 2], np.int32))) == []  # a constant may hold whole numbers
    model = tflite([("SUB", ["x", "x"], ["y"])], {"x": IMAGE, "y": IMAGE}, ["x"], ["y"])
    assert [str(found) for found in offenders(write(model))] == ["SUB at y: both inputs are one tensor"]


@needs_runtime
@pytest.mark.parametrize(("height", "legal"), [(64, True), (65, False)])
def test_sums_that_leave_the_range_of_fp16(height: int, legal: bool) -> None:
    found = one("MEAN", ((1, height, 64, 4), np.array([1, 2], np.int32)), (1, 1, 1, 4))
    assert found == ([] if legal else [
        "MEAN at block/node: it sums 4160 values in fp16, 4096 at most stay in its range "
        "(pass two-step-pool, fp16-safe-norm)"
    ])  # fmt: skip


def test_the_cures_are_exact_passes() -> None:
    for names in CURES.values():
        assert all(pass_class(name).contract is Contract.EXACT for name in names.split(", "))
