"""What integer convolutions set aside, by hand, and the plan of a quantised network beside what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import network
from onnx import helper

from graphopt.backends.host import HostTarget
from graphopt.backends.onnxruntime.backend import OnnxRuntimeBackend
from graphopt.backends.onnxruntime.integer_plan import set_aside
from graphopt.backends.onnxruntime.plan import optimised, planned_bytes
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.ir.canonical import to_model
from graphopt.quantise.quantise import quantise

PIXELS = 8 * 6


@pytest.mark.parametrize(
    ("weight", "options", "expected"),
    [
        ((32, 16, 1, 1), {}, []),  # rounds by itself, and reads its input in place
        ((32, 16, 3, 3), {"pads": [1, 1, 1, 1]}, [8 * 9 * PIXELS]),
        ((3, 16, 3, 3), {"pads": [1, 1, 1, 1]}, [4 * PIXELS * 3, 16 * 9 * PIXELS]),
        ((16, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 16}, [8 * 9 * PIXELS]),
        ((24, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 24}, [4 * PIXELS * 24, 8 * 9 * PIXELS]),
    ],
)
def test_what_a_convolution_sets_aside(weight: tuple[int, ...], options: dict[str, Any], expected: list[int]) -> None:
    channels = weight[1] * options.get("group", 1)
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w"], ["y"])
    shapes = {"x": (1, 8, 6, channels), "w": weight}
    assert set_aside({"channels_last": 1, **options}, shapes, (1, 8, 6, weight[0]), node) == expected
    shapes["x"] = (1, channels, 8, 6)
    copies = [PIXELS * channels, PIXELS * weight[0]]
    found = set_aside(options, shapes, (1, weight[0], 8, 6), node)
    assert sorted(found) == sorted([*expected, *copies])


def quantised(size: int) -> onnx.ModelProto:
    text = f"""(float[1,3,{size},{size}] x) => (float[1,3,{size},{size}] y) {{
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w1)
        b = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=32>(a, w2)
        left, right = Split<axis=1, num_outputs=2>(b)
        c = Mul(left, right)
        m = ReduceMean<keepdims=1>(c, channels)
        s = Sub(c, m)
        y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(s, w3)
    }}"""
    weights = {"w1": (32, 3, 3, 3), "w2": (32, 1, 3, 3), "w3": (3, 16, 3, 3), "channels": np.array([1])}
    image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    return quantise(to_model(network(text, weights)), [image], lambda one: 0.0).model


def test_the_plan_of_a_quantised_network(tmp_path: Path) -> None:
    """Beside what a process of its own takes: mostly the windows that the last convolution sets aside."""
    model = quantised(256)
    assert "QLinearConv" in {node.op_type for node in optimised(model, 1).graph.node}
    backend = OnnxRuntimeBackend(HostTarget(**load_target("host-onnxruntime").model_dump()), CostCache(tmp_path))
    measured = backend.measured_memory(model)
    if measured is None:
        pytest.skip("this system does not say what memory a process takes")
    assert planned_bytes(model, 1) == pytest.approx(measured, rel=0.15)
