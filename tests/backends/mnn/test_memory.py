"""The plan of memory beside what a process of its own takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import nafnet, onnx_model
from mnn import mnn_backend, needs_mnn

from graphopt.backends.mnn.memory import planned_bytes
from graphopt.ir.canonical import to_model


def test_by_hand() -> None:
    """Two inputs of a sum are held beside its result; 3 channels lie in 16 lanes."""
    model = onnx_model(
        "(float[1,3,4,4] x) => (float[1,16,4,4] y) { a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) y = Add(a, b) }",
        {"w": (16, 3, 3, 3)},
    )
    assert planned_bytes(model, 4) == 4 * (2 * 16 * 27 + 3 * 16 + 3 * 16 * 16)


@needs_mnn
@pytest.mark.parametrize("size", [128, 256])
def test_the_plan_holds(size: int, tmp_path: Path) -> None:
    backend, model = mnn_backend(tmp_path), to_model(nafnet(size=size, width=16))
    measured = backend.measured_memory(model)
    assert measured is not None
    assert backend.planned_memory(model) == pytest.approx(measured, rel=0.15)
