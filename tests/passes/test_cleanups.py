"""remove-no-ops, slices-to-split, and the two spellings of a channel LayerNorm."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.bounded_gate import BoundedGate
from graphopt.passes.fold_constants import FoldConstants
from graphopt.passes.fused_layer_norm import FusedLayerNorm
from graphopt.passes.plain_layer_norm import PlainLayerNorm
from graphopt.passes.remove_no_ops import RemoveNoOps
from graphopt.passes.slices_to_split import SlicesToSplit
from graphs import (
    NORM_CONSTANTS,
    difference,
    kinds,
    layer_norm,
    network,
    norm_weights,
    random_image,
    refused,
    rewritten,
    run,
)

from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.ir.space_building import prepare
from graphopt.ir.view import GraphView

IMAGE = random_image(1, 6, 8, 10)
X_TO_Y = "(float[1, 6, 8, 10] x) => (float[1, 6, 8, 10] y)"
DECOMPOSED = ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]
FUSED = ["Transpose", "LayerNormalization", "Transpose"]


@pytest.mark.parametrize(
    ("rule", "spelling", "expected"),
    [(FusedLayerNorm(), "decomposed", FUSED), (PlainLayerNorm(), "transposed", DECOMPOSED)],
)
def test_the_other_spelling_of_a_norm_is_exact(rule: Pass, spelling: str, expected: list[str]) -> None:
    constants = NORM_CONSTANTS if spelling == "decomposed" else {}
    text = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'b.0.norm1', spelling)} }}"
    graph = network(text, {**constants, **norm_weights("b.0.norm1", 6, spelling)})
    chosen = rewritten(graph, rule, [IMAGE])
    assert kinds(chosen) == expected
    for image in (IMAGE, 1e-3 * IMAGE):  # small values: epsilon counts
        assert difference(run(chosen, image), run(graph, image)) < 2e-6
    other = PlainLayerNorm() if isinstance(rule, FusedLayerNorm) else FusedLayerNorm()
    reasons = set(refused(graph, other))
    assert reasons <= {"it is in single ops already", "it is a LayerNormalization already"}
    assert reasons


@pytest.mark.parametrize(
    "text",
    [
        "b = Identity(a)", "b = Add(a, zeros)", "b = Add(zeros, a)", "b = Sub(a, zeros)", "b = Mul(a, ones)",
        "b = Div(a, ones)", "b = Reshape(a, shape)", "b = Expand(a, shape)", "b = Transpose<perm = [0, 1, 2, 3]>(a)",
        "b = Concat<axis = 1>(a)", "b = Pad(a, pads)", "c = Transpose<perm = [0, 2, 3, 1]>(a) b = Transpose<perm = [0, 3, 1, 2]>(c)",
    ],
)  # fmt: skip
def test_ops_that_change_nothing(text: str) -> None:
    weights = {
        "zeros": np.zeros((1, 6, 1, 1)), "ones": np.ones((1, 6, 1, 1)), "shape": np.array([1, 6, 8, 10]), "pads": np.zeros(8, np.int64),
    }  # fmt: skip
    graph = network(f"{X_TO_Y} {{ a = Relu(x) {text} y = Neg(b) }}", weights)
    before = run(graph, IMAGE)
    rewrite_everywhere(graph, [RemoveNoOps()])
    assert kinds(graph) == ["Relu", "Neg"]
    np.testing.assert_array_equal(run(graph, IMAGE), before)


def test_transposes_become_one() -> None:
    text = """(float[1, 6, 8, 10] x) => (float[10, 1, 6, 8] y) {
        a = Transpose<perm = [0, 2, 3, 1]>(x) b = Transpose<perm = [2, 0, 1, 3]>(a) y = Transpose<perm = [0, 1, 3, 2]>(b) }"""
    graph = network(text)
    before = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [RemoveNoOps()]) == {"remove-no-ops": 2}
    assert kinds(graph) == ["Transpose"]
    np.testing.assert_array_equal(run(graph, IMAGE), before)


@pytest.mark.parametrize(
    "text",
    [
        "b = Add(a, ones) y = Neg(b)",
        "b = Mul(a, zeros) y = Neg(b)",
        "b = Sub(zeros, a) y = Neg(b)",
        "b = Div(ones, a) y = Neg(b)",
        "b = Transpose<perm = [0, 1, 3, 2]>(a) c = Relu(b) y = Transpose<perm = [0, 1, 3, 2]>(c)",
        "y = Add(a, zeros)",  # the network's result
    ],
)
def test_ops_that_stay(text: str) -> None:
    weights = {"zeros": np.zeros((1, 6, 1, 1)), "ones": np.ones((1, 6, 1, 1))}
    graph = network(f"{X_TO_Y} {{ a = Relu(x) {text} }}", weights)
    before, found = kinds(graph), run(graph, IMAGE)
    assert rewrite_everywhere(graph, [RemoveNoOps()]) == {"remove-no-ops": 0}
    assert kinds(graph) == before
    np.testing.assert_array_equal(run(graph, IMAGE), found)


def test_no_ops_that_broadcast_stay() -> None:
    text = "(float[1, 1, 8, 10] x) => (float[1, 6, 8, 10] y) { a = Relu(x) b = Mul(a, ones) y = Neg(b) }"
    graph = network(text, {"ones": np.ones((1, 6, 1, 1))})
    assert refused(graph, RemoveNoOps()) == ["Mul changes [1, 1, 8, 10] to [1, 6, 8, 10]"]


def test_ops_on_tensors_of_unknown_shape_stay() -> None:
    """What a rewrite has made has no shape before the next export."""
    graph = network(f"{X_TO_Y} {{ a = Relu(x) b = Mul(a, ones) y = Neg(b) }}", {"ones": np.ones((1, 6, 1, 1))})
    graph.tensors()["a"].shape = None
    assert refused(graph, RemoveNoOps()) == ["the shape of a or b is not known yet"]
    assert kinds(graph) == ["Relu", "Mul", "Neg"]


SLICES = {"zero": np.array([0]), "two": np.array([2]), "three": np.array([3]), "five": np.array([5]), "one": np.array([1]), "end": np.array([2**62]), "minus": np.array([-3])}  # fmt: skip


@pytest.mark.parametrize(
    ("slices", "sizes"),
    [
        ("a = Slice(x, zero, three, one) b = Slice(x, three, end, one)", [3, 3]),
        ("b = Slice(x, three, end, one, one) a = Slice(x, zero, three, one, one)", [3, 3]),
        ("a = Slice(x, zero, minus, minus) b = Slice(x, minus, end, one)", [3, 3]),
    ],
)
def test_slices_become_a_split(slices: str, sizes: list[int]) -> None:
    text = f"(float[1, 6, 8, 10] x) => (float[1, 3, 8, 10] y) {{ {slices} y = Sub(a, b) }}"
    graph = network(text, SLICES)
    prepared = prepare(graph, [SlicesToSplit()], [IMAGE])
    assert prepared.edits == {"slices-to-split": 1}
    assert kinds(prepared.graph) == ["Split", "Sub"]
    assert prepared.graph.nodes[0].inputs[1].values.tolist() == sizes
    np.testing.assert_array_equal(run(prepared.graph, IMAGE), run(graph, IMAGE))


def test_gates_of_slices_are_gates_afterwards() -> None:
    text = """(float[1, 6, 8, 10] x) => (float[1, 3, 8, 10] y) {
        a = Slice(x, zero, three, one) b = Slice(x, three, end, one) y = Mul(a, b) }"""
    edits = prepare(network(text, SLICES), [SlicesToSplit(), BoundedGate(tail=0)], [IMAGE]).edits
    assert edits == {"slices-to-split": 1, "bounded-gate": 1}


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("a = Slice(x, zero, three, one) b = Slice(x, two, five, one) y = Concat<axis = 1>(a, b)", 1),  # overlap
        (
            "a = Slice(x, zero, two, one) b = Slice(x, three, end, one) c = Slice(x, zero, one, one) y = Concat<axis = 1>(a, b, c)",
            1,
        ),
        ("a = Slice(x, zero, end, one, two) b = Slice(x, one, end, one, two) y = Concat<axis = 1>(a, b)", 0),  # steps
        ("a = Slice(x, zero, three, one) y = Concat<axis = 1>(a, a)", 0),  # one slice
    ],
)
def test_slices_that_stay(text: str, reasons: int) -> None:
    found = refused(network(f"{X_TO_Y} {{ {text} }}", SLICES), SlicesToSplit())
    assert found == ["the slices of x do not share out its 6 along axis 1"] * reasons


FIXED = {"shape": np.array([6, 1, 1]), "axes": np.array([1]), "two_fixed": np.float32(2)}


def test_what_is_computed_from_constants_becomes_a_constant() -> None:
    text = f"""{X_TO_Y} {{
        s = Sqrt(scale) t = Mul(s, two_fixed) u = Reshape(t, shape) a, b = Split<axis = 0, num_outputs = 2>(u)
        c = Concat<axis = 0>(b, a) m = Mul(x, c) y = Relu(m) }}"""
    graph = network(text, {"scale": np.arange(1.0, 7.0, dtype=np.float32), **FIXED})
    expected = run(graph, IMAGE)
    rewrite_everywhere(graph, [FoldConstants()])
    assert kinds(graph) == ["Mul", "Relu"]
    (constant,) = [tensor for tensor in graph.nodes[0].inputs if tensor.name != "x"]
    values = 2 * np.sqrt(np.arange(1.0, 7.0))
    np.testing.assert_allclose(constant.values.ravel(), [*values[3:], *values[:3]], rtol=1e-6)
    assert not constant.name.endswith("_fixed")  # it comes from a weight
    assert "@" not in constant.name
    np.testing.assert_array_equal(run(graph, IMAGE), expected)


def test_a_weight_that_is_computed_from_weights_folds_and_is_read_by_all() -> None:
    text = f"""{X_TO_Y} {{
        w = Mul(scale, weight) a = Conv(x, w) b = Relu(a) c = Conv(b, w) y = Add(c, x) }}"""
    graph = network(text, {"weight": (6, 6, 1, 1), "scale": (6, 1, 1, 1)})
    expected = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [FoldConstants()]) == {"fold-constants": 1}
    assert kinds(graph) == ["Conv", "Relu", "Conv", "Add"]
    assert difference(run(graph, IMAGE), expected) < 1e-6


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (f"{X_TO_Y} {{ z = RandomUniformLike(scale) y = Mul(x, z) }}", 0),
        ("(float[1, 6, 8, 10] x) => (float[6, 1, 1] y) { y = Sqrt(scale) z = Relu(x) }", 0),
        (f"{X_TO_Y} {{ z = Expand(scale, large) m = ReduceSum<keepdims = 0>(z) y = Mul(x, m) }}", 1),
    ],
    ids=["random", "a result of the network", "larger than its operands"],
)
def test_constants_that_stay(text: str, reasons: int) -> None:
    graph = network(text, {"scale": (6, 1, 1), "large": np.array([6, 200, 200])})
    view = GraphView(graph)
    assert list(FoldConstants().sites(view)) == []
    assert len(view.refusals) == reasons
