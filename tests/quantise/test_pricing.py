"""The QDQ graph that is priced: quantised on a random image, cheaply, and on whatever a part is given."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import kinds, onnx_model, run
from onnx import numpy_helper

from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.keys import graph_key
from graphopt.ir.canonical import canonical, to_graph
from graphopt.ir.quantised import is_quantised
from graphopt.quantise.pricing import priced_form
from graphopt.quantise.rules import find_rules

CONV = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w, b) y = Relu(c) }"
WEIGHTS = {"w": (4, 4, 3, 3), "b": (4,)}
ROOT = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Sub(x, one) r = Sqrt(a) y = Conv(r, k) }"


def model(text: str = CONV, seed: int = 0, **weights: object) -> onnx.ModelProto:
    return canonical(onnx_model(text, weights or WEIGHTS, seed=seed), None, "small")


def form(given: onnx.ModelProto, device: str = "cpu", precision: str = "w8a8") -> onnx.ModelProto:
    return priced_form(given, *find_rules(device, precision))


@pytest.mark.parametrize(("device", "precision"), [("cpu", "w8a8"), ("qnn", "w8a8"), ("qnn", "w8a16")])
def test_a_float_network_becomes_qdq(device: str, precision: str) -> None:
    given = model()
    made = form(given, device, precision)
    assert is_quantised(made)
    assert not is_quantised(given)
    assert macs_and_parameters(made) == macs_and_parameters(given) == (8 * 8 * 4 * 4 * 9, 4 * 4 * 9 + 4)
    image = np.random.default_rng(0).random((1, 4, 8, 8)).astype(np.float32)  # the one that ranges are found on
    whole, step = run(given, image), run(given, image).max() / 255
    assert np.abs(run(made, image) - whole).max() < 4 * step


def test_ranges_and_weights_change_no_price() -> None:
    one, other = form(model(seed=0)), form(model(seed=1))
    scales = [
        sorted(float(numpy_helper.to_array(t)) for t in made.graph.initializer if t.name.endswith("_scale") and not t.dims)
        for made in (one, other)
    ]  # fmt: skip
    assert scales[0] != scales[1]
    assert graph_key(one) == graph_key(other)
    assert graph_key(form(model(), "qnn", "w8a16")) != graph_key(form(model(), "qnn", "w8a8"))
    assert graph_key(one) != graph_key(model())


def test_a_pad_of_a_quantised_network_is_in_the_key() -> None:
    """Its integers are no weights."""
    text = "(float[1,4,8,8] x) => (float[1,4,8,H] y) { p = Pad(x, pads) y = Conv(p, k) }"
    keys = {
        graph_key(form(model(text.replace("H", str(8 + w)), pads=np.array([0, 0, 0, 0, 0, 0, 0, w]), k=(4, 4, 1, 1))))
        for w in (1, 2)
    }
    assert len(keys) == 2


def test_what_is_quantised_or_has_nothing_to_quantise_stays() -> None:
    made = form(model())
    assert form(made) is made
    norm = model("(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Div(x, k) }", k=(1, 4, 1, 1))
    assert form(norm) is norm  # a CPU has no such integers
    empty = onnx_model("(float[1,4,8,8] x) => (float[1,4,8,8] x) { }", {})
    assert form(empty, "qnn") is empty


def test_a_part_may_be_given_what_its_network_never_sees() -> None:
    """A root of negatives is no number, and a part has a price all the same."""
    part = model(ROOT, one=np.float32(2), k=(4, 4, 1, 1))
    made = form(part)
    assert kinds(to_graph(made)).count("Sqrt") == 1
    scales = [numpy_helper.to_array(t) for t in made.graph.initializer if t.name.endswith("_scale")]
    assert all(np.isfinite(scale).all() for scale in scales)


def test_a_part_of_two_images_and_a_shape() -> None:
    text = "(float[1,4,8,8] x, float[1,4,8,8] z) => (float[1,256] y) { a = Add(x, z) y = Reshape(a, to) }"
    assert is_quantised(form(model(text, to=np.array([1, 256]))))
