"""Values that the vector units handle, by hand."""

from __future__ import annotations

import onnx
import onnx.parser
from npu import convolution, network, quantised

from graphopt.backends.qnn.vectors import vector_values


def test_what_a_convolution_takes_along_is_free() -> None:
    assert vector_values(convolution()) == 0
    assert vector_values(quantised("uint8")) == 0


def test_sums_gates_and_their_sigmoids_count() -> None:
    made = network("a = Conv<kernel_shape=[1,1]>(x, w) s = Sigmoid(a) g = Mul(a, s) y = Add(g, x)", w=(16, 16, 1, 1))
    assert vector_values(made) == 3 * 16 * 32 * 32


def test_constants_are_folded() -> None:
    assert vector_values(network("y = Mul(x, w)", w=(1, 16, 1, 1))) == 0


def test_a_pooling_reads_and_a_concatenation_writes() -> None:
    text = """<ir_version: 9, opset_import: ["" : 20]> g (float[1,4,8,8] x) => (float[1,8,1,1] y)
        { c = Concat<axis=1>(x, x) y = GlobalAveragePool(c) }"""
    assert vector_values(onnx.parser.parse_model(text)) == 2 * 8 * 8 * 8
