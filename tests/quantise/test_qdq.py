"""QDQ graphs: what they compute, against numpy; which ops they leave in float; the form for QNN."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import onnx_model, run
from onnx import numpy_helper

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.ir.quantised import is_quantised
from graphopt.quantise.histograms import histograms
from graphopt.quantise.methods import min_max
from graphopt.quantise.qdq import Qdq, prepared, to_qdq
from graphopt.quantise.rules import find_rules

CONV = "(float[1,3,9,9] x) => (float[1,4,7,7] y) { y = Conv(x, w, b) }"
NORM = (
    "(float[1,4,8,8] x) => (float[1,4,8,8] y) "
    "{ a = Conv<pads=[1,1,1,1]>(x, w) m = ReduceMean<keepdims=1>(a, axes) s = Sqrt(m) n = Div(a, s) y = Conv(n, k) }"
)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).random(shape, dtype=np.float32)


def quantised(model: onnx.ModelProto, device: str = "cpu", precision: str = "w8a8") -> Qdq:
    rules, bits = find_rules(device, precision)
    ready = prepared(model, rules, bits)
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    ranges = {name: min_max(seen, bits.steps) for name, seen in histograms(ready, [image(*shape)]).items()}
    return to_qdq(ready, ranges, rules, bits)


def norm() -> onnx.ModelProto:
    weights = {"w": np.abs(image(4, 4, 3, 3)), "k": (4, 4, 1, 1), "axes": np.array([1])}
    return canonical(onnx_model(NORM, weights), None, "norm")


def fake(values: np.ndarray, step: np.ndarray | float, zero: int, low: int, high: int) -> np.ndarray:
    return (np.clip(np.round(values / step) + zero, low, high) - zero) * step


@pytest.mark.parametrize(
    ("device", "precision", "bits"), [("cpu", "w8a8", 8), ("qnn", "w8a8", 8), ("qnn", "w8a16", 16)]
)
def test_a_convolution_is_numpys_to_a_step(device: str, precision: str, bits: int) -> None:
    model = canonical(onnx_model(CONV, {"w": (4, 3, 3, 3), "b": (4,)}), None, "conv")
    made = quantised(model, device, precision)
    assert made.in_float == {}
    x, steps = image(1, 3, 9, 9), 2**bits - 1
    weight, bias = (numpy_helper.to_array(t) for t in sorted(model.graph.initializer, key=lambda t: -len(t.dims)))
    step_x = x.max() / steps  # the image has no value below zero
    step_w = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    windows = np.lib.stride_tricks.sliding_window_view(fake(x, step_x, 0, 0, steps), (3, 3), (2, 3))[0]
    exact = np.einsum("cyxij,ocij->oyx", windows, fake(weight, step_w, 0, -127, 127)) + bias[:, None, None]
    plain = run(model, x)
    step_y = (max(0, plain.max()) - min(0, plain.min())) / steps
    exact = np.clip(exact, plain.min(), plain.max())  # the range that was found
    found = run(made.model, x)
    assert np.abs(found - exact[None]).max() <= step_y
    assert np.abs(found / step_y - np.round(found / step_y)).max() < 1e-2  # whole steps
    assert 0 < np.abs(found - plain).max() < 0.05 * np.abs(plain).max()


def test_ops_that_a_cpu_has_no_integers_for_stay_in_float_and_are_named() -> None:
    made = quantised(norm())
    assert made.in_float == {"ReduceMean": 1, "Sqrt": 1, "Div": 1}
    makers = {name: node for node in made.model.graph.node for name in node.output}
    (division,) = (node for node in made.model.graph.node if node.op_type == "Div")
    assert [makers[name].op_type for name in division.input] == ["DequantizeLinear", "Sqrt"]
    assert quantised(norm(), "qnn").in_float == {}


def test_sixteen_bits_need_no_ops_outside_the_standard() -> None:
    made = quantised(norm(), "qnn", "w8a16").model
    assert {(entry.domain, entry.version) for entry in made.opset_import} == {("", 21)}
    zeros = {tensor.data_type for tensor in made.graph.initializer if "zero_point" in tensor.name}
    assert onnx.TensorProto.UINT16 in zeros
    assert is_quantised(canonical(made, None, "made"))


def test_the_model_itself_is_left_as_it_is() -> None:
    model = norm()
    before = model.SerializeToString()
    quantised(model, "qnn", "w8a16")
    assert model.SerializeToString() == before


def test_what_the_quantiser_refuses_is_one_line() -> None:
    rules, bits = find_rules("cpu", "w8a8")
    with pytest.raises(GraphoptError, match=r"onnxruntime's quantiser refuses the network: .*'?x'?") as error:
        to_qdq(prepared(norm(), rules, bits), {}, rules, bits)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["cpu", "qnn"])
def test_what_a_file_says_of_itself_is_no_obstacle(device: str) -> None:
    model = canonical(onnx_model(CONV, {"w": (4, 3, 3, 3), "b": (4,)}), None, "conv")
    model.metadata_props.add(key="licence", value="Apache-2.0")
    assert is_quantised(quantised(model, device).model)
    assert [entry.key for entry in model.metadata_props] == ["licence"]
