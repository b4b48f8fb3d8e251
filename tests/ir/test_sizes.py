"""Heights and widths that networks run at: found by running, and what holds one size is named."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from graphs import network, run

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.ir.sizes import at_any_size, at_size, other_sizes, stride_of

CONV = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>"
LOCAL = f"(float[1,3,16,24] x) => (float[1,3,16,24] y) {{ y = {CONV}(x, w) }}"
HALVED = """(float[1,3,24,24] x) => (float[1,3,24,24] y) {
    d = Conv<kernel_shape=[2,2], strides=[2,2]>(x, w) u = DepthToSpace<blocksize=2>(d) y = Add(u, x) }"""
THIRDS = """(float[1,3,24,24] x) => (float[1,3,24,24] y) {
    d = AveragePool<kernel_shape=[3,3], strides=[3,3]>(x) y = Resize<mode="nearest">(d, , scales) }"""
HELD = {
    "a constant of its size": (
        "(float[1,3,16,16] x) => (float[1,3,16,16] y) { y = Add(x, c) }",
        {"c": (1, 3, 16, 16)},
        "Add node",
    ),
    "a shape": (
        """(float[1,3,16,16] x) => (float[1,3,16,16] y) {
            ["flatten/reshape"] r = Reshape(x, s) y = Reshape(r, t) }""",
        {"s": np.array([1, 3, 256]), "t": np.array([1, 3, 16, 16])},
        "flatten/reshape",
    ),
    "a pool over all of it": (
        """(float[1,3,16,16] x) => (float[1,3,16,16] y) {
            ["att/pool"] p = AveragePool<kernel_shape=[16,16]>(x) y = Mul(x, p) }""",
        {},
        "AveragePool (att/pool) pools 16x16, the whole image; write it as a mean",
    ),
    "a mean by hand": (
        """(float[1,3,16,16] x) => (float[1,3,16,16] y) {
            s = ReduceSum<keepdims=1>(x, axes) ["att/mean"] m = Mul(s, k) y = Mul(x, m) }""",
        {"axes": np.array([2, 3]), "k": 1 / 256},
        "Mul (att/mean) makes a mean of a sum over 256 pixels; write it as a mean",
    ),
}


def test_strides(nafnet_graph: gs.Graph) -> None:
    assert stride_of(to_model(nafnet_graph)) == 2
    assert stride_of(to_model(network(LOCAL, {"w": (3, 3, 3, 3)}))) == 1
    assert stride_of(to_model(network(HALVED, {"w": (12, 3, 2, 2)}))) == 2
    assert stride_of(to_model(network(THIRDS, {"scales": np.array([1, 1, 3, 3], np.float32)}))) == 3


@pytest.mark.parametrize("name", HELD)
def test_what_holds_a_size_is_named(name: str) -> None:
    text, weights, words = HELD[name]
    model = to_model(network(text, weights))
    assert stride_of(model) is None
    with pytest.raises(GraphoptError) as caught:
        at_any_size(model, 1)
    assert str(caught.value).startswith("the network runs at 16x16 alone: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(GraphoptError, match=r"the network does not run at 24x16 \(height x width\): "):
        at_size(model, (24, 16))


def test_a_free_network_computes_what_the_fixed_one_does(nafnet_graph: gs.Graph) -> None:
    model = to_model(nafnet_graph)
    free = at_any_size(model, 2)
    dims = free.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == [1, 3, "height", "width"]
    onnx.checker.check_model(free, full_check=True)
    for size in ((16, 16), *other_sizes((16, 16), 2)):
        image = np.random.default_rng(2).random((1, 3, *size), dtype=np.float32)
        np.testing.assert_array_equal(run(free, image), run(at_size(model, size), image))


def test_another_size_is_inferred_anew(nafnet_graph: gs.Graph) -> None:
    model = to_model(nafnet_graph)
    found = at_size(model, (32, 20))
    assert [dim.dim_value for dim in found.graph.output[0].type.tensor_type.shape.dim] == [1, 3, 32, 20]
    assert len(found.graph.value_info) == len(model.graph.value_info)
    assert at_size(model, (16, 16)) is model


def test_a_size_that_does_not_fit_is_said(nafnet_graph: gs.Graph) -> None:
    with pytest.raises(GraphoptError, match=r"the network does not run at 17x16 \(height x width\): onnxruntime"):
        at_size(to_model(nafnet_graph), (17, 16))
