"""Rounding to integers and back: onnxruntime's bit by bit, straight through values, LSQ for scales."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph
from graphopt.ir.session import OnnxSession
from graphopt.nn.fake_quantise import Grid, fake_quantise
from graphopt.nn.module import GraphModule

TYPES = [np.uint8, np.int8, np.uint16, np.int16]


def pair(
    shape: tuple[int, ...], scale: np.ndarray, zero: np.ndarray, axis: int, inner: bool = False
) -> onnx.ModelProto:
    """x -> integers (an output as well where `inner`) -> y."""
    constants = [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(zero, "z")]
    attributes: dict[str, Any] = {"axis": axis} if scale.ndim else {}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantise", **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "dequantise", **attributes),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    if inner:
        outputs.append(helper.make_tensor_value_info("q", helper.np_dtype_to_tensor_dtype(zero.dtype), shape))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "pair", given, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def values(scale: float, zero: int, ends: np.iinfo[Any]) -> np.ndarray:
    """Ties, both ends and beyond, and numbers at random: (1, 4, 5, 150)."""
    places = np.r_[-9:9, ends.min - zero - 4 : ends.min - zero + 4, ends.max - zero - 4 : ends.max - zero + 4]
    halves = (places + 0.5) * np.float32(scale)
    random = np.random.default_rng(3).normal(0, 300 * scale, 3000 - 3 * len(halves))
    found = np.r_[halves, np.nextafter(halves, np.float32(9e9)), np.nextafter(halves, np.float32(-9e9)), random]
    return found.astype(np.float32).reshape(1, 4, 5, 150)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("inner", [False, True])
def test_a_pair_is_onnxruntimes_bit_by_bit(dtype: type, inner: bool) -> None:
    ends = np.iinfo(dtype)
    for scale, zero in ((0.0371, int(ends.max) // 2 + 3), (0.1, 0), (1 / 3, int(ends.max))):
        x = values(scale, zero, ends)
        model = pair(x.shape, np.float32(scale).reshape(()), np.array(zero, dtype), 1, inner)
        expected = OnnxSession(model, optimise=False).run_named({"x": x}, ["y", "q"][: 1 + inner])
        found = GraphModule(to_graph(model))(torch.from_numpy(x))
        for ours, theirs in zip(found if inner else [found], expected, strict=True):
            np.testing.assert_array_equal(ours.detach().numpy(), theirs)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [1, 2])
def test_so_are_pairs_with_a_scale_for_each_channel(dtype: type, axis: int) -> None:
    x = values(0.02, 0, np.iinfo(dtype))
    random = np.random.default_rng(4)
    scale = random.uniform(0.001, 0.05, x.shape[axis]).astype(np.float32)
    zero = random.integers(0, 9, x.shape[axis]).astype(dtype)
    for inner in (False, True):
        model = pair(x.shape, scale, zero, axis, inner)
        expected = OnnxSession(model, optimise=False).run(x)
        found = GraphModule(to_graph(model))(torch.from_numpy(x))
        np.testing.assert_array_equal((found[0] if inner else found).detach().numpy(), expected)


def test_integers_of_a_bias_come_back_as_onnxruntime_has_them() -> None:
    integers = np.array([2**31 - 1, -(2**31), 2**24 + 1, -7], np.int32)
    scale = np.array([1e-7, 3e-7, 0.1, 1 / 3], np.float32)
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], "d", axis=0)
    given = [helper.make_tensor_value_info("q", TensorProto.INT32, [4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])]
    graph = helper.make_graph([node], "bias", given, outputs, [numpy_helper.from_array(scale, "s")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model.graph.node[0].input.append("z")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.int32), "z"))
    expected = OnnxSession(model, optimise=False).run_named({"q": integers}, ["y"])[0]
    np.testing.assert_array_equal(GraphModule(to_graph(model))(torch.from_numpy(integers)).numpy(), expected)


def lsq(x: np.ndarray, scale: float, zero: int, low: int, high: int, gradient: np.ndarray) -> tuple[Any, Any]:
    """Equations 3 and 5 of Esser et al., in double precision."""
    exact = x.astype(np.float64) / scale
    rounded = np.rint(exact)
    below, above = rounded < low - zero, rounded > high - zero
    inside = ~(below | above)
    by_scale = np.where(below, low - zero, np.where(above, high - zero, rounded - exact))
    return gradient * inside, (gradient * by_scale).sum() / math.sqrt(x.size * high)


@pytest.mark.parametrize("dtype", TYPES)
def test_gradients_are_those_of_lsq(dtype: type) -> None:
    ends, zero = np.iinfo(dtype), 5
    random = np.random.default_rng(6)
    scale = np.float32(4 / int(ends.max))
    x = random.normal(0, 2.5, (2, 3, 16, 16)).astype(np.float32)
    gradient = random.normal(0, 1, x.shape).astype(np.float32)
    leaf, step = torch.from_numpy(x).requires_grad_(), torch.tensor(scale, requires_grad=True)
    grid = Grid(np.dtype(dtype), np.array([zero]), 1)
    fake_quantise(grid)(leaf, step).backward(torch.from_numpy(gradient))
    by_x, by_scale = lsq(x, float(scale), zero, int(ends.min), int(ends.max), gradient)
    assert leaf.grad is not None
    assert step.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), by_x, rtol=0, atol=0)
    assert float(step.grad) == pytest.approx(by_scale, rel=2e-3)


def test_each_channel_has_the_gradient_of_its_own_scale() -> None:
    random = np.random.default_rng(8)
    weights, gradient = (random.normal(0, 1, (4, 3, 3, 3)).astype(np.float32) for _ in range(2))
    scales = np.array([0.005, 0.01, 0.02, 0.03], np.float32)  # the first two cut off
    leaf, steps = torch.from_numpy(weights), torch.from_numpy(scales).requires_grad_()
    fake_quantise(Grid(np.dtype(np.int8), np.zeros(4, np.int64), 0))(leaf, steps).backward(torch.from_numpy(gradient))
    expected = [lsq(weights[i], float(scales[i]), 0, -128, 127, gradient[i])[1] for i in range(4)]
    assert steps.grad is not None
    np.testing.assert_allclose(steps.grad.numpy(), expected, rtol=1e-4)


def test_the_scale_of_a_bias_has_no_gradient_and_its_values_have() -> None:
    bias, scale = torch.tensor([0.3, -0.2], requires_grad=True), torch.tensor([1e-3, 2e-3], requires_grad=True)
    made = fake_quantise(Grid(np.dtype(np.int32), np.zeros(1, np.int64), 0))(bias, scale)
    made.sum().backward()
    assert scale.grad is None
    torch.testing.assert_close(made, torch.tensor([0.3, -0.2]), rtol=1e-6, atol=0)
    torch.testing.assert_close(bias.grad, torch.ones(2), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_no_number_is_the_lowest_and_has_no_gradient(dtype: type) -> None:
    """0 / 0, 1 / 0 and -1 / 0, as a norm has them whose variance rounds to zero."""
    x = np.array([[[[0, 1, -1, 8]]]], np.float32)
    model = pair(x.shape, np.float32(0.1).reshape(()), np.array(7, dtype), 1)
    constants = {"t": np.float32(1).reshape(()), "u": np.array(0, np.uint8), "d": np.array([0, 0, 0, 4], np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["e", "t", "u"], ["f"], "before2"))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["d", "t", "u"], ["e"], "before"))
    model.graph.node.insert(2, helper.make_node("Div", ["x", "f"], ["w"], "divide"))
    model.graph.node[3].input[0] = "w"
    module, leaf = GraphModule(to_graph(model)), torch.from_numpy(x).requires_grad_()
    module.named_initialisers()["d"].requires_grad_()
    found = module(leaf)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.detach().numpy(), OnnxSession(model, optimise=False).run(x))
    found.sum().backward()
    gradient = module.named_initialisers()["d"].grad
    assert gradient is not None
    torch.testing.assert_close(gradient, torch.tensor([0, 0, 0, -0.5]), rtol=1e-6, atol=0)


def test_what_cannot_be_rounded_is_said() -> None:
    graph = to_graph(pair((1, 2, 2, 2), np.float32(0.1).reshape(()), np.array(0, np.uint8), 1))
    graph.nodes[0].inputs[2] = gs.Constant("z4", np.array(0.0, np.float32))
    with pytest.raises(GraphoptError, match=r"node 'quantise' \(QuantizeLinear\): a zero point of the type float32"):
        GraphModule(graph)
