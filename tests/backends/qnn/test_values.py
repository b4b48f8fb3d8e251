"""Values that the NPU makes and moves in integers, by hand."""

from __future__ import annotations

import onnx
import onnx.parser
from npu import convolution, network, quantised

from graphopt.backends.qnn.values import Values, padded_values, values_of

ONE = 32 * 32 * 32  # values of 16 channels at 32x32, channels filled up to 32


def test_channels_are_filled_up() -> None:
    assert padded_values((1, 3, 8, 8)) == 32 * 64
    assert padded_values((2, 33, 8, 8)) == 2 * 64 * 64
    assert padded_values((4, 10, 3)) == 4 * 10 * 32
    assert padded_values((1, 4, 10, 3), channels_last=True) == 4 * 10 * 32
    assert padded_values(()) == 0


def test_what_a_convolution_takes_along_is_free() -> None:
    expected = Values(convolved=ONE, scaled=0, border=2 * ONE, joined=0)
    assert values_of(convolution()) == expected
    assert values_of(quantised("uint8")) == expected
    assert (
        values_of(network("a = Conv<kernel_shape=[1,1]>(x, w) y = Mul(a, k)", w=(16, 16, 1, 1), k=(16, 1, 1)))
        == expected
    )


def test_sums_gates_and_their_sigmoids_are_joined() -> None:
    made = network("a = Conv<kernel_shape=[1,1]>(x, w) s = Sigmoid(a) g = Mul(a, s) y = Add(g, x)", w=(16, 16, 1, 1))
    assert values_of(made).joined == 3 * ONE


def test_an_affine_that_no_convolution_takes_along_is_scaled() -> None:
    by_channel = network("m = Mul(x, k) r = Relu(m) y = Conv<kernel_shape=[1,1]>(r, w)", w=(16, 16, 1, 1), k=(16, 1, 1))
    assert values_of(by_channel) == Values(convolved=ONE, scaled=ONE, border=2 * ONE, joined=0)
    at_two_places = network(
        "a = Conv<kernel_shape=[1,1]>(x, w) m = Mul(a, k) y = Add(a, m)", w=(16, 16, 1, 1), k=(16, 1, 1)
    )
    assert values_of(at_two_places).scaled == ONE
    a_scalar = network("y = Mul(x, k)", k=(1,))  # another step and zero point of the same integers
    assert values_of(a_scalar).scaled == 0


def test_a_quantisation_parts_an_affine_from_its_convolution() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[1,16,32,32] x) => (float[1,16,32,32] y)
        <float s = {0.1}, uint8 z = {0}, float[16,1,1] k = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}> {
        a = AveragePool<kernel_shape=[1,1]>(x) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z)
        y = Mul(d, k) }"""
    assert values_of(onnx.parser.parse_model(text)) == Values(convolved=0, scaled=ONE, border=2 * ONE, joined=ONE)


def test_a_pooling_reads_a_concatenation_writes_and_a_transpose_moves() -> None:
    text = """<ir_version: 9, opset_import: ["" : 20]> g (float[1,4,8,8] x) => (float[1,8,1,1] y)
        { c = Concat<axis=1>(x, x) t = Transpose<perm=[0,1,3,2]>(c) y = GlobalAveragePool(t) }"""
    block = 32 * 8 * 8
    assert values_of(onnx.parser.parse_model(text)) == Values(0, block, block + 32, 2 * block)
