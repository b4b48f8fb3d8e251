"""Networks that leave the range of half precision: in which node, by how much, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import onnx_model

from graphopt.quantise.overflow import Beyond, Overflow, overflows

IMAGE = np.full((1, 4, 8, 8), 0.5, np.float32)
AXES = {"axes": np.array([1])}


def found(text: str, **constants: object) -> Beyond:
    model = onnx_model(f"(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ {text} }}", constants)
    return overflows(model, [IMAGE, 0 * IMAGE])


def test_the_first_layer_is_named_and_not_those_after_it() -> None:
    made = found('["a"] a = Mul(x, k) ["b"] b = Mul(a, k) ["c"] c = Mul(b, k) ["d"] y = Add(c, x)', k=np.float32(1000))
    assert made.first == (Overflow("b", "Mul", "output", 500_000),)
    assert made.nodes == ("b", "c", "d")  # what is made or read beyond
    assert made.why() == "fp16 holds 65504 at most, and node b (Mul) reaches 5e+05 (measured)"


def test_each_branch_has_its_first() -> None:
    made = found('["a"] a = Mul(x, k) ["b"] b = Sub(x, k) y = Add(a, b)', k=np.float32(65504))
    assert made == Beyond((), (), ())
    made = found(
        '["a"] a = Exp(k) ["b"] b = Mul(x, two) ["c"] c = Pow(b, k) y = Add(a, c)', k=np.float32(12), two=np.float32(6)
    )
    assert [(one.node, one.largest) for one in made.first] == [
        ("a", pytest.approx(np.exp(12), rel=1e-5)), ("c", pytest.approx(3.0**12, rel=1e-5)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("m = ReduceMean<keepdims=1>(a, axes)", 4 * 30_000),
        ("m = GlobalAveragePool(a)", 64 * 30_000),
        ("m = ReduceL2<keepdims=1>(a, axes)", 4 * 30_000.0**2),
    ],
)
def test_a_sum_on_the_way_to_a_mean(text: str, total: float) -> None:
    made = found(f'["a"] a = Mul(x, k) ["m"] {text} y = Sub(a, m)', k=np.float32(60_000), **AXES)
    assert (made.first, [(one.node, one.of) for one in made.sums]) == ((), [("m", "sum")])
    assert made.sums[0].largest == pytest.approx(total, rel=1e-6)
    assert (made.why(), "node m (" in made.why(with_sums=True)) == ("", True)


def test_a_norm_adds_up_squares_of_what_differs_from_the_mean() -> None:
    constants = {"k": np.array([1000, -1000, 0, 0], np.float32)[:, None, None], "one": np.ones(4, np.float32)}
    swapped = '["t"] t = Transpose<perm=[0,2,3,1]>(a) ["n"] n = LayerNormalization<axis=-1>(t, one, one)'
    made = found(f'["a"] a = Mul(x, k) {swapped} y = Transpose<perm=[0,3,1,2]>(n)', **constants)
    assert made.sums == (Overflow("n", "LayerNormalization", "sum", 2 * 500**2),)
    made = found('["a"] a = Mul(x, k) y = InstanceNormalization(a, one, one)', **constants)
    assert made.sums == ()  # every channel is flat


def test_a_constant_and_the_image() -> None:
    assert found('["a"] y = Mul(x, k)', k=np.float32(1e5)).first == (Overflow("a", "Mul", "constant", 1e5),)
    model = onnx_model("(float[1,1,1,2] x) => (float[1,1,1,2] y) { y = Relu(x) }")
    assert overflows(model, [np.array([[[[7e4, 1]]]], np.float32)]).first == (Overflow("", "", "output", 7e4),)


def test_many_are_counted() -> None:
    many = tuple(Overflow(str(number), "Mul", "output", 1e5) for number in range(5))
    assert Beyond(many, (), ()).why().endswith("node 2 (Mul) reaches 1e+05, and 2 more (measured)")
