"""remove-no-ops: ops that change nothing go, two transposes become one, and what only looks so stays."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.remove_no_ops import RemoveNoOps
from graphs import kinds, network, random_image, refused, run, site_names

from graphopt.ir.rewriting import rewrite_everywhere

IMAGE = random_image(1, 6, 8, 10)


X_TO_Y = "(float[1, 6, 8, 10] x) => (float[1, 6, 8, 10] y)"


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


def test_sites_are_named_after_what_goes() -> None:
    text = f"""{X_TO_Y} {{
        ["b.0/relu"] a = Relu(x) ["b.0/add"] b = Add(a, zeros) ["b.0/transpose"] c = Transpose<perm = [0, 2, 3, 1]>(b)
        ["b.0/transpose_2"] d = Transpose<perm = [0, 3, 1, 2]>(c) ["b.0/neg"] y = Neg(d) }}"""
    graph = network(text, {"zeros": np.zeros((1, 6, 1, 1))})
    assert site_names(graph, RemoveNoOps()) == ["b.0/transposed-twice", "b.0/no-op"]


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
