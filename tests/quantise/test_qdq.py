"""QDQ graphs: what they compute, against numpy; which ops they leave in float; the form for QNN."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import onnx_model, run
from onnx import numpy_helper
from onnxruntime.quantization.operators.qdq_base_operator import QDQOperatorBase
from onnxruntime.quantization.registry import QDQRegistry

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


def test_an_op_that_the_quantiser_refuses_stays_in_float_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(QDQOperatorBase):  # type: ignore[misc]
        def quantize(self) -> None:
            raise ValueError("no such thing\nas a quantised root")

    monkeypatch.setitem(QDQRegistry, "Sqrt", Refusing)
    made = quantised(norm(), "qnn")
    assert made.refused == {"Sqrt": "as a quantised root"}
    assert made.in_float == {"Sqrt": 1}
    assert np.abs(run(made.model, image(1, 4, 8, 8)) - run(norm(), image(1, 4, 8, 8))).max() < 0.1


@pytest.mark.parametrize("device", ["cpu", "qnn"])
def test_a_wide_tensor_is_wide_for_all_that_touch_it(device: str) -> None:
    rules, bits = find_rules(device, "w8a8")
    text = "(float[1,3,9,9] x) => (float[1,3,9,9] y) { a = Conv(x, w) b = Mul(a, k) c = Conv(b, w) y = Mul(c, k) }"
    model = canonical(onnx_model(text, {"w": (3, 3, 1, 1), "k": np.float32(2)}), None, "model")
    ready = prepared(model, rules, bits)
    ranges = {name: min_max(seen, 255) for name, seen in histograms(ready, [image(1, 3, 9, 9)]).items()}
    made = to_qdq(ready, ranges, rules, bits, frozenset({"b"})).model
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    makers = {name: node for node in made.graph.node for name in node.output}

    def bits_read(output: str, place: int) -> int:
        """Of what a node reads there; 32 where it is a float."""
        node = makers.get(makers[output].input[place])
        if node is None or node.op_type != "DequantizeLinear":
            return 32
        return {"UINT8": 8, "INT8": 8, "UINT16": 16}[onnx.TensorProto.DataType.Name(kinds[node.input[2]])]

    def made_by(op: str) -> list[str]:
        return [node.output[0] for node in made.graph.node if node.op_type == op]

    wide = 16 if device == "qnn" else 32
    (first, second), (conv, last) = made_by("Conv"), made_by("Mul")
    assert [bits_read(first, 0), bits_read(second, 0)] == [8, wide]
    assert [[bits_read(name, place) for place in (0, 1)] for name in (conv, last)] == [
        [wide if device == "qnn" else 8, wide],
        [8, 8],
    ]
    assert is_quantised(canonical(made, None, "made"))
    assert np.abs(run(made, image(1, 3, 9, 9)) - run(model, image(1, 3, 9, 9))).max() < 0.1


def test_nodes_without_names_get_some() -> None:
    rules, bits = find_rules("cpu", "w8a8")
    model = onnx_model("(float[1,1,2,2] x) => (float[1,1,2,2] y) { a = Relu(x) y = Neg(a) }")
    assert [node.name for node in prepared(model, rules, bits).graph.node] == ["relu_of_a", "neg_of_y"]


@pytest.mark.parametrize("device", ["cpu", "qnn"])
def test_what_a_file_says_of_itself_is_no_obstacle(device: str) -> None:
    model = canonical(onnx_model(CONV, {"w": (4, 3, 3, 3), "b": (4,)}), None, "conv")
    model.metadata_props.add(key="licence", value="Apache-2.0")
    assert is_quantised(quantised(model, device).model)
    assert [entry.key for entry in model.metadata_props] == ["licence"]
