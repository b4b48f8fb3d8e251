"""fold-constants: what is computed from constants, up to a size."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.fold_constants import FoldConstants
from graphs import difference, kinds, network, random_image, run, site_names

from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.ir.view import GraphView

IMAGE = random_image(1, 6, 8, 10)


X_TO_Y = "(float[1, 6, 8, 10] x) => (float[1, 6, 8, 10] y)"


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


def test_constants_of_one_module_are_told_apart() -> None:
    text = f'{X_TO_Y} {{ ["b.0/sqrt"] s = Sqrt(scale) ["b.0/exp"] t = Exp(scale) ["b.0/mul"] m = Mul(x, s) ["b.0/add"] y = Add(m, t) }}'
    assert site_names(network(text, {"scale": np.ones((6, 1, 1))}), FoldConstants()) == [
        "b.0/constant",
        "b.0/constant.2",
    ]


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


@pytest.mark.parametrize(("most", "stays"), [(383, True), (384, False)])
def test_most_is_the_size_of_the_largest_constant(most: int, stays: bool) -> None:
    text = "(float[1, 6, 8, 8] x) => (float[1, 6, 8, 8] y) { z = Expand(scale, large) y = Mul(x, z) }"
    graph = network(text, {"scale": (6, 1, 1), "large": np.array([6, 8, 8])})
    reason = f"its value has 384 elements, more than option 'most' ({most})"
    view = GraphView(graph)
    assert len(list(FoldConstants(most=most).sites(view))) == (0 if stays else 1)
    assert [found for _, found in view.refusals] == ([reason] if stays else [])
