"""The plan over the graph that onnxruntime makes: shapes in its blocked layout, and the bytes that follow."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import onnx_model
from onnx import TensorProto, helper

from graphopt.backends.onnxruntime.plan import optimised, planned_bytes, tensor_shapes
from graphopt.cost.counts import static_shapes

BLOCKED = "com.microsoft.nchwc"


def node(kind: str, read: list[str], written: str, domain: str = BLOCKED, **options: object) -> onnx.NodeProto:
    return helper.make_node(kind, read, [written], domain=domain, **options)


def blocked() -> onnx.ModelProto:
    """As onnxruntime writes it where a block has 16 channels: 8 channels are filled up."""
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(shape, np.float32).ravel())
        for name, shape in (("w", (32, 16, 3, 3)), ("d", (16, 1, 5, 5)))
    ]
    nodes = [
        node("ReorderInput", ["x"], "a"),
        node("Conv", ["a", "d"], "b", group=16, pads=[4, 4, 4, 4], dilations=[2, 2]),
        node("Conv", ["b", "w"], "c", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Upsample", ["c"], "e", scales=[1, 1, 2, 2]),
        node("Add", ["e", "e"], "f", domain=""),
        node("MaxPool", ["f"], "g", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["g"], "h"),
        node("ReorderOutput", ["g"], "y", channels=30),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8, 12, 10))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 30, 6, 5))
    return helper.make_model(helper.make_graph(nodes, "g", [image], [result], weights))


def test_shapes_in_the_blocked_layout() -> None:
    model = onnx_model(
        "(float[1,8,12,10] x) => (float[1,30,6,5] y) { y = Conv<strides=[2,2], pads=[1,1,1,1]>(x, k) }",
        {"k": (30, 8, 3, 3)},
    )
    shapes = tensor_shapes(blocked(), model)
    assert {name: shapes[name] for name in "abcefghy"} == {
        "a": (1, 16, 12, 10),
        "b": (1, 16, 12, 10),
        "c": (1, 32, 6, 5),
        "e": (1, 32, 12, 10),
        "f": (1, 32, 12, 10),
        "g": (1, 32, 6, 5),
        "h": (1, 32, 1, 1),
        "y": (1, 30, 6, 5),
    }


def test_every_tensor_of_what_onnxruntime_makes_has_a_shape() -> None:
    """On this processor, whatever its blocks: at least as much as before, and nothing unknown."""
    model = onnx_model(
        """(float[1,8,32,32] x) => (float[1,8,32,32] y) {
            a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) m = ReduceMean<keepdims=1>(a, axes) s = Sub(a, m)
            c = Conv<kernel_shape=[1,1]>(s, v) y = Add(c, a) }""",
        {"w": (8, 8, 3, 3), "v": (8, 8, 1, 1), "axes": np.array([1])},
    )
    made = optimised(model, 1)
    shapes, before = tensor_shapes(made, model), static_shapes(model)
    assert all(name in shapes for one in made.graph.node for name in one.output)
    assert all(shapes[name] == shape for name, shape in before.items() if name in shapes and name != "y")


@pytest.mark.parametrize("channels", [16, 32])
def test_the_peak_of_a_chain(channels: int) -> None:
    """Whole blocks: two tensors, the image, weights, and something for each node."""
    model = onnx_model(
        f"""(float[1,{channels},256,256] x) => (float[1,{channels},256,256] y) {{
            a = Conv<kernel_shape=[1,1]>(x, w) b = Conv<kernel_shape=[1,1]>(a, w) y = Relu(b) }}""",
        {"w": (channels, channels, 1, 1)},
    )
    tensor = 4 * channels * 256 * 256
    assert planned_bytes(model, 1) == pytest.approx(tensor * 3, rel=0.01)
