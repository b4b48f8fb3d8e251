"""Quantised graphs: known, kept as they are, and refused where a network in float is needed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from graphs import onnx_model, run

from graphopt.cost.counts import macs_and_parameters
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.ir.quantised import (
    Steps,
    check_float,
    integer_weights,
    is_quantised,
    output_step,
    step_constants,
    steps_of,
)

# A reshape, a clip and an identity, which onnxruntime would fuse with the pairs around them, or move them past
QDQ = (
    "(float[1,3,8,8] x) => (float[1,3,8,8] y) { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
    "v = DequantizeLinear(w, t, o) c = Conv(d, v) i = Identity(c) e = Relu(i) f = QuantizeLinear(e, s, z) "
    "g = DequantizeLinear(f, s, z) h = Constant<value_ints=[1,3,8,8]>() r = Reshape(g, h) k = QuantizeLinear(r, s, z) "
    "y = DequantizeLinear(k, s, z) }"
)


def quantised() -> onnx.ModelProto:
    weights = np.random.default_rng(0).integers(-127, 128, (3, 3, 1, 1)).astype(np.int8)
    steps = {"s": np.float32(1 / 255), "t": np.float32(1 / 127)}
    return onnx_model(QDQ, {**steps, "z": np.uint8(0), "o": np.int8(0), "w": weights})


def test_what_is_quantised() -> None:
    plain = onnx_model("(float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }")
    assert not is_quantised(plain)
    check_float(plain, "plain.onnx", "passes take")
    made = quantised()
    assert is_quantised(made)
    assert (integer_weights(made), step_constants(made)) == ({"w"}, {"s", "t", "z", "o"})
    with pytest.raises(GraphoptError, match=r"^made.onnx is quantised \(QDQ\), and passes take a network in float: "):
        check_float(made, "made.onnx", "passes take")


def test_the_canonical_form_keeps_every_pair() -> None:
    model = quantised()
    made = canonical(model, None, "model")
    pairs = {"QuantizeLinear": 3, "DequantizeLinear": 4}
    assert {
        op: count for op, count in Counter(node.op_type for node in made.graph.node).items() if op in pairs
    } == pairs
    assert "Identity" not in {node.op_type for node in made.graph.node}
    image = np.random.default_rng(1).random((1, 3, 8, 8), dtype=np.float32)
    assert (run(made, image) == run(model, image)).all()


def test_weights_in_integers_are_parameters_and_steps_are_none() -> None:
    assert macs_and_parameters(canonical(quantised(), None, "model")) == (8 * 8 * 9, 9)


def test_steps_of_an_image() -> None:
    text = """(float[1,3,8,8] x) => (float[1,3,8,8] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) r = Relu(d)
        p = QuantizeLinear(r, t, o) y = DequantizeLinear(p, t, o) }"""
    model = onnx_model(text, {"s": np.float32(0.25), "z": np.uint8(3), "t": np.float32(0.5), "o": np.uint16(7)})
    assert steps_of(model, "x") == Steps(0.25, 3, "uint8")
    assert steps_of(model, "y") == Steps(0.5, 7, "uint16")
    assert output_step(model) == 0.5
    plain = onnx_model("(float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }", {})
    assert (steps_of(plain, "x"), steps_of(plain, "y"), output_step(plain)) == (None, None, 1 / 255)
