"""split-convolution: a convolution whose channels are shared out is one for each part, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.bounded_gate import BoundedGate
from graphopt.passes.split_convolution import SplitConvolution
from graphs import kinds, nafnet, network, random_image, refused, rewritten, run, site_names, space_of
from layers import IMAGES

from graphopt.ir.canonical import to_model
from graphopt.ir.rewriting import apply_selection, rewrite_once
from graphopt.ir.session import OnnxSession
from graphopt.ir.space_building import prepare

GATE = "a, b = Split<axis = 1, num_outputs = 2>(t) y = Mul(a, b)"
SLICES = "a = Slice(t, zero, six, one) b = Slice(t, six, end, one) y = Mul(a, b)"
DEPTHWISE = "Conv<group = 12, pads = [1, 1, 1, 1]>"
WEIGHTS: dict[str, Any] = {
    "w": (12, 8, 1, 1), "w3": (12, 8, 3, 3), "bias": (12,), "d": (12, 1, 3, 3), "d2": (24, 1, 3, 3), "g": (12, 3, 1, 1),
    "scale": (1, 12, 1, 1), "slope": (12, 1, 1), "low": np.float32(-0.4), "high": np.float32(0.6), "one_two": np.array([4, 8]),
    "three": np.array([2, 6, 4]), "zero": np.array([0]), "one": np.array([1]), "six": np.array([6]), "end": np.array([99]),
    "row": (10,), "plane": (1, 12, 12, 10), "w6": (12, 6, 1, 1), "six_six": np.array([6, 6]),
    "cut": np.array([12, 4]), "axes": np.array([0, 2, 3]),
}  # fmt: skip


def layers(text: str, outputs: int = 6) -> gs.Graph:
    """x of 8 channels to y, without the weights that it does not name."""
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
    signature = f"(float[1, 8, 12, 10] x) => (float[1, {outputs}, 12, 10] y)"
    return network(f"{signature} {{ {text} }}", {k: v for k, v in WEIGHTS.items() if k in words})


def assert_same_bits(after: gs.Graph, before: gs.Graph, image: np.ndarray, tolerance: float = 2e-6) -> None:
    """Node by node; and as onnxruntime optimises it, which has other kernels where blocks of channels are not full."""
    np.testing.assert_array_equal(run(after, image), run(before, image))
    found, expected = (OnnxSession(to_model(graph), threads=1).run(image) for graph in (after, before))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


TWICE = ["Conv", "Conv"]
FOUND = {
    "with a bias": (f"t = Conv(x, w, bias) {GATE}", TWICE),
    "without": (f"t = Conv(x, w) {GATE}", TWICE),
    "3 x 3": (f"t = Conv<pads = [1, 1, 1, 1]>(x, w3, bias) {GATE}", TWICE),
    "slices": (f"t = Conv(x, w, bias) {SLICES}", TWICE),
    "axis -3": ("t = Conv(x, w) a, b = Split<axis = -3, num_outputs = 2>(t) y = Mul(a, b)", TWICE),
    "through a depthwise": (f"s = Conv(x, w, bias) t = {DEPTHWISE}(s, d, bias) {GATE}", TWICE * 2),
    "through two": (f"r = Conv(x, w) s = {DEPTHWISE}(r, d) t = {DEPTHWISE}(s, d) {GATE}", TWICE * 3),
    "through groups": (f"s = Conv(x, w, bias) t = Conv<group = 4>(s, g, bias) {GATE}", TWICE * 2),
    "through a clamp": (f"s = Conv(x, w, bias) t = Clip(s, low, high) {GATE}", ["Conv", "Clip"] * 2),
    "half a clamp": (f"s = Conv(x, w) t = Clip(s, , high) {GATE}", ["Conv", "Clip"] * 2),
    "all of it": (
        f"q = Conv(x, w, bias) r = {DEPTHWISE}(q, d, bias) s = Clip(r, low, high) t = PRelu(s, slope) {SLICES}",
        ["Conv", "Conv", "Clip", "PRelu"] * 2,
    ),
    "a scale": (f"s = Conv(x, w) t = Mul(scale, s) {GATE}", ["Conv", "Mul"] * 2),
    "a row": (f"s = Conv(x, w) t = Sub(row, s) {GATE}", ["Conv", "Sub"] * 2),
    "a plane": (f"s = Conv(x, w) t = Add(s, plane) {GATE}", ["Conv", "Add"] * 2),
    "a number": (f"s = Conv(x, w) t = Div(s, high) {GATE}", ["Conv", "Div"] * 2),
    "an activation": (f"s = Conv(x, w) t = LeakyRelu<alpha = 0.2>(s) {GATE}", ["Conv", "LeakyRelu"] * 2),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_a_gate_of_two_convolutions(case: str) -> None:
    text, expected = FOUND[case]
    before = layers(text)
    after = rewritten(before, SplitConvolution(), IMAGES)
    assert kinds(after) == [*expected, "Mul"]
    assert [node.inputs[1].shape[0] for node in after.nodes if node.op == "Conv"] == [6] * kinds(after).count("Conv")
    assert_same_bits(after, before, IMAGES[1])


@pytest.mark.parametrize(
    ("text", "sizes", "outputs"),
    [
        ("t = Conv(x, w, bias) a, c = Split<axis = 1>(t, one_two) e = Relu(c) y = Concat<axis = 1>(e, a)", [4, 8], 12),
        ("t = Conv(x, w, bias) a, c, e = Split<axis = 1>(t, three) y = Concat<axis = 1>(e, a, c)", [2, 6, 4], 12),
        (f"s = Conv(x, w) t = {DEPTHWISE}(s, d2) a, c, e = Split<axis = 1, num_outputs = 3>(t) y = Add(a, e)", [4, 8] * 2, 8),
        ("t = Conv(x, w) a, c = Split<axis = 1>(t, one_two) y = Relu(c)", [8], 8),  # one part that nobody reads
        (f"t = Conv(x, w) {GATE.split('y')[0]} e = Relu(a) f = Add(a, e) y = Mul(f, b)", [6, 6], 6),  # two readers
    ],
)  # fmt: skip
def test_parts_of_other_sizes(text: str, sizes: list[int], outputs: int) -> None:
    before = layers(text, outputs)
    after = rewritten(before, SplitConvolution(), IMAGES)
    assert [node.inputs[1].shape[0] for node in after.nodes if node.op == "Conv"] == sizes
    assert "Split" not in kinds(after)
    assert_same_bits(after, before, IMAGES[1])


def test_two_outputs_of_the_graph() -> None:
    text = """(float[1, 8, 12, 10] x) => (float[1, 6, 12, 10] a, float[1, 6, 12, 10] b) {
        t = Conv(x, w) a, b = Split<axis = 1, num_outputs = 2>(t) }"""
    before = network(text, {"w": (12, 8, 1, 1)})
    after = rewritten(before, SplitConvolution(), IMAGES)
    assert kinds(after) == TWICE
    assert [tensor.name for tensor in after.outputs] == ["a", "b"]
    assert_same_bits(after, before, IMAGES[0])


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_splits_of_every_opset(opset: int) -> None:
    split = "Split<axis = 1>(t)" if opset < 18 else "Split<axis = 1, num_outputs = 2>(t)"
    text = f"{{ t = Conv(x, w) a, b = {split} y = Mul(a, b) }}"
    before = network(f"(float[1, 8, 12, 10] x) => (float[1, 6, 12, 10] y) {text}", {"w": (12, 8, 1, 1)}, opset=opset)
    after = rewritten(before, SplitConvolution(), IMAGES)
    assert kinds(after) == [*TWICE, "Mul"]
    assert_same_bits(after, before, IMAGES[0])


REFUSED = {
    "another reader": (f"t = Conv(x, w) {GATE.replace('y', 'k')} s, e = Split<axis = 1>(t, six_six) y = Mul(k, e)", 6,
        ["conv is also used by split_2", "conv is also used by split"]),
    "a reader between": (f"s = Conv(x, w) t = {DEPTHWISE}(s, d) a, c = Split<axis = 1, num_outputs = 2>(t) e = Concat<axis = 1>(c, a) y = Add(s, e)", 12,
        ["conv is also used by add"]),
    "groups in two parts": ("s = Conv(x, w) t = Conv<group = 2>(s, w6) a, c = Split<axis = 1>(t, one_two) y = Relu(c)", 8,
        ["the 2 groups of conv_2 do not lie each in one part"]),
    "rows": ("t = Conv(x, w) a, c = Split<axis = 2, num_outputs = 2>(t) y = Concat<axis = 2>(c, a)", 12,
        ["expected parts of the channels, found axis 2"]),
    "no dense one": (f"r = Concat<axis = 1>(x, x) s, q = Split<axis = 1>(r, cut) t = {DEPTHWISE}(s, d) {GATE}", 6,
        ["expected a dense convolution before Split (split)"]),
    "two computed": (f"r = Conv(x, w) q = Relu(r) s = Add(r, q) t = {DEPTHWISE}(s, d) {GATE}", 6,
        ["add reads 2 computed tensors; expected one, as large as its result"]),
    "a computed weight": (f"m = Sigmoid(x) k = ReduceMean<keepdims = 1>(m, axes) e = Concat<axis = 0>(k, k, k, k, k, k, k, k, k, k, k, k) t = Conv(x, e) {GATE}", 6,
        ["conv reads 2 computed tensors; expected one, as large as its result"]),
    "an input": ("a, c = Split<axis = 1, num_outputs = 2>(x) y = Concat<axis = 1>(c, a)", 8, []),
    "no convolution": ("t = Relu(x) a, c = Split<axis = 1, num_outputs = 2>(t) y = Concat<axis = 1>(c, a)", 8, []),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_divided(case: str) -> None:
    text, outputs, reasons = REFUSED[case]
    assert refused(layers(text, outputs), SplitConvolution()) == reasons


def test_an_output_of_the_graph_stays() -> None:
    text = f"(float[1, 8, 12, 10] x) => (float[1, 6, 12, 10] y, float[1, 12, 12, 10] t) {{ t = Conv(x, w) {GATE} }}"
    reasons = refused(network(text, {"w": (12, 8, 1, 1)}), SplitConvolution())
    assert reasons == ["conv is also used by the caller: it is an output"]


def test_clamps_stay_untrained() -> None:
    prepared = prepare(layers(f"t = Conv(x, w, bias) {GATE}"), [BoundedGate(tail=0)], IMAGES).graph
    after = rewritten(prepared, SplitConvolution(), IMAGES)
    bounds = {tensor.name for node in after.nodes if node.op == "Clip" for tensor in node.inputs[1:]}
    assert len(bounds) == 4
    assert all(name.endswith("_fixed") for name in bounds)
    assert_same_bits(after, prepared, IMAGES[2])


def test_whole_networks() -> None:
    graph, image = nafnet(width=16), random_image(1, 3, 16, 16)
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    names = [f"{block}/parts{number}" for block in blocks for number in ("", ".2")]
    assert site_names(graph, SplitConvolution()) == names
    space = space_of(graph, [SplitConvolution()], [image])
    after = apply_selection(space, dict.fromkeys(names, "split-convolution"))
    assert "Split" not in kinds(after)
    assert_same_bits(after, graph, image, tolerance=0)
    assert rewrite_once(after, SplitConvolution()) == 0
