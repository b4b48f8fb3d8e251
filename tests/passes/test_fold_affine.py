"""fold-affine: six cases, all exact, and the places where it must not fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphopt.passes.fold_affine import FoldAffine
from graphs import difference, kinds, network, random_image, run, site_names
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.ir.exactness import check_sites
from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.ir.view import GraphView

IMAGE = random_image(1, 4, 6, 6, seed=4)


OVER_FOUR = "(float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y)"


CONVS = {"full": (4, 4, 1, 1), "grouped": (4, 2, 1, 1), "depthwise": (4, 1, 1, 1)}


GROUPS = {"full": 1, "grouped": 2, "depthwise": 4}


def weights(conv: str = "full", bias: bool = True) -> dict[str, Any]:
    affine = {"s": (1, 4, 1, 1), "s2": (4, 1, 1), "t": (1, 4, 1, 1)}
    return {"w": CONVS[conv], **({"bias": (4,)} if bias else {}), **affine}


@pytest.mark.parametrize("conv", list(CONVS))
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "a = CONV(x) y = Mul(a, s)",
        "a = CONV(x) y = Mul(s2, a)",
        "a = CONV(x) y = Add(t, a)",
        "a = Mul(x, s) y = CONV(a)",
        "a = Add(x, t) y = CONV(a)",
        "a = Mul(x, s) b = Add(a, t) c = CONV(b) d = Mul(c, s2) y = Add(d, t)",
    ],
)
def test_folding_into_convolutions(text: str, bias: bool, conv: str) -> None:
    for name in ("x", "a", "b"):
        operands = f"({name}, w, bias)" if bias else f"({name}, w)"
        text = text.replace(f"CONV({name})", f"Conv<group = {GROUPS[conv]}>{operands}")
    graph = network(f"{OVER_FOUR} {{ {text} }}", weights(conv, bias))
    before, affines = run(graph, IMAGE), len(graph.nodes) - 1
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": affines}
    assert kinds(graph) == ["Conv"]
    assert len(graph.nodes[0].inputs) == (3 if bias or "Add" in text else 2)
    assert difference(run(graph, IMAGE), before) < 2e-6
    assert [t.name for t in graph.outputs] == ["y"]


def test_two_scales_become_one() -> None:
    graph = network(f"{OVER_FOUR} {{ a = Mul(x, s) y = Mul(s2, a) }}", weights())
    before = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 1}
    assert kinds(graph) == ["Mul"]
    assert difference(run(graph, IMAGE), before) < 2e-6


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("bias", ["w, bias", "w"])
def test_attributes_of_the_convolution_stay(kernel: int, bias: str) -> None:
    """Without `pads` there is no padding; stride, dilation and groups are the convolution's own."""
    attributes = "strides = [2, 2], group = 2" if kernel == 1 else "group = 2"
    size = 3 if kernel == 1 else 4
    text = f"(float[1, 4, 6, 6] x) => (float[1, 4, {size}, {size}] y) {{"
    graph = network(
        f"{text} a = Mul(x, s) b = Add(a, t) y = Conv<{attributes}>(b, {bias}) }}",
        {**weights(), "w": (4, 2, kernel, kernel)},
    )
    before = run(graph, IMAGE)
    rewrite_everywhere(graph, [FoldAffine()])
    assert kinds(graph) == ["Conv"]
    assert difference(run(graph, IMAGE), before) < 2e-6


@pytest.mark.parametrize("padding", ["pads = [1, 1, 1, 1]", "pads = [0, 0, 1, 1]", 'auto_pad = "SAME_UPPER"'])
def test_a_shift_before_zero_padding_stays(padding: str) -> None:
    size = 5 if "0, 0" in padding else 6
    text = f"(float[1, 4, 6, 6] x) => (float[1, 4, {size}, {size}] y)"
    graph = network(f"{text} {{ a = Add(x, t) y = Conv<{padding}>(a, w) }}", {**weights(), "w": (4, 4, 3, 3)})
    view = GraphView(graph)
    assert list(FoldAffine().sites(view)) == []
    assert view.refusals == [("conv", "the shift before it cannot fold: zero padding would not see it")]
    before = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 0}
    np.testing.assert_array_equal(run(graph, IMAGE), before)


def test_a_scale_before_zero_padding_folds() -> None:
    graph = network(
        f"{OVER_FOUR} {{ a = Mul(x, s) y = Conv<pads = [1, 1, 1, 1]>(a, w) }}", {**weights(), "w": (4, 4, 3, 3)}
    )
    before = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 1}
    assert difference(run(graph, IMAGE), before) < 2e-6


@pytest.mark.parametrize(
    "text",
    [
        f"{OVER_FOUR} {{ a = Mul(x, plane) y = Conv(a, w) }}",
        f"{OVER_FOUR} {{ a = Conv(x, w) y = Mul(a, x) }}",
        f"{OVER_FOUR} {{ a = Conv(x, w) b = Relu(a) y = Mul(b, s) }}",
        f"{OVER_FOUR} {{ a = Conv(x, w) b = Mul(a, s) c = Relu(a) y = Add(b, c) }}",  # the product is not the only user
        # one value for all channels, and one channel for all values: broadcasting, not an affine of each channel
        f"{OVER_FOUR} {{ a = Mul(x, one) y = Conv<group = 4>(a, w1) }}",
        f"{OVER_FOUR} {{ a = Add(x, one) y = Conv<group = 4>(a, w1) }}",
        "(float[1, 1, 6, 6] x) => (float[1, 4, 6, 6] y) { a = Mul(x, s) y = Conv(a, w) }",
        "(float[1, 1, 6, 6] x) => (float[1, 4, 6, 6] y) { a = Add(x, t) y = Conv(a, w) }",
        "(float[1, 1, 6, 6] x) => (float[1, 4, 6, 6] y) { a = Conv(x, w0) y = Add(a, t) }",
    ],
)
def test_places_that_do_not_fold(text: str) -> None:
    more = {"plane": (1, 4, 6, 6), "one": (1, 1, 1, 1), "w1": (4, 1, 1, 1), "w0": (1, 1, 1, 1)}
    graph = network(text, {**weights(), **more})
    image = IMAGE[:, : graph.inputs[0].shape[1]]
    before = run(graph, image)
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 0}
    np.testing.assert_array_equal(run(graph, image), before)


def test_a_weight_that_two_convolutions_share() -> None:
    graph = network(
        f"{OVER_FOUR} {{ a = Conv(x, w, bias) c = Mul(a, s) d = Conv(x, w, bias) y = Add(c, d) }}", weights()
    )
    before = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 1}
    assert kinds(graph) == ["Conv", "Conv", "Add"]
    assert difference(run(graph, IMAGE), before) < 2e-6


def test_a_scale_between_two_convolutions_folds_into_the_first() -> None:
    graph = network(f"{OVER_FOUR} {{ a = Conv(x, w, bias) c = Mul(a, s) y = Conv(c, w) }}", weights())
    before = run(graph, IMAGE)
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 1}
    assert kinds(graph) == ["Conv", "Conv"]
    assert graph.nodes[1].inputs[1].name == "w"
    assert difference(run(graph, IMAGE), before) < 2e-6


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('["b.0/conv"] a = Conv(x, w) ["b.0/mul"] c = Mul(a, s)', "b.0/scale-after"),
        ('["b.0/conv"] a = Conv(x, w) ["b.0/add"] c = Add(a, t)', "b.0/shift-after"),
        ('["b.0/mul"] a = Mul(x, s) ["b.0/conv"] c = Conv(a, w)', "b.0/scale-before"),
        ('["b.0/add"] a = Add(x, t) ["b.0/conv"] c = Conv(a, w)', "b.0/shift-before"),
        ('["b.0/mul"] a = Mul(x, s) ["b.0/mul_2"] c = Mul(a, s2)', "b.0/scale-twice"),
    ],
)
def test_each_case_has_its_name(text: str, name: str) -> None:
    graph = network(f'{OVER_FOUR} {{ {text} ["b.0/relu"] y = Relu(c) }}', weights())
    assert site_names(graph, FoldAffine()) == [name]


STEP = st.one_of(
    st.tuples(st.just("Mul"), st.booleans()),
    st.tuples(st.just("Add"), st.booleans()),
    st.tuples(st.just("Conv"), st.sampled_from([1, 2, 4]), st.sampled_from([1, 3]), st.booleans(), st.booleans()),
    st.tuples(st.just("Relu")),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=st.lists(STEP, min_size=1, max_size=9), seed=st.integers(0, 2**16))
def test_random_chains_keep_their_function(steps: list[tuple[Any, ...]], seed: int) -> None:
    size, lines, values = 12, [], {}
    for number, (kind, *options) in enumerate(steps):
        x, y, weight = f"t{number}", f"t{number + 1}", f"k{number}"
        if kind == "Conv":
            groups, kernel, padded, bias = options
            size -= 0 if padded else kernel - 1
            if size < 1:
                return
            values |= {weight: (4, 4 // groups, kernel, kernel), f"{weight}b": (4,)}
            pads = [kernel // 2 if padded else 0] * 4
            lines.append(f"{y} = Conv<group = {groups}, pads = {pads}>({x}, {weight}{f', {weight}b' if bias else ''})")
        elif kind == "Relu":
            lines.append(f"{y} = Relu({x})")
        else:
            values[weight] = (1, 4, 1, 1)
            lines.append(f"{y} = {kind}({weight}, {x})" if options[0] else f"{y} = {kind}({x}, {weight})")
    text = f"(float[1, 4, 12, 12] t0) => (float[1, 4, {size}, {size}] t{len(steps)}) {{ {' '.join(lines)} }}"
    graph = network(text, values, seed)
    image = random_image(1, 4, 12, 12, seed=seed)
    before, nodes = run(graph, image), len(graph.nodes)
    edits = rewrite_everywhere(graph, [FoldAffine()])["fold-affine"]
    assert len(graph.nodes) == nodes - edits
    found = run(graph, image)
    assert found.shape == before.shape
    assert np.abs(found - before).max() <= 1e-5 * np.abs(before).max() + 1e-6


TWO = "(float[1, 4, 6, 6] x) => (float[1, 8, 6, 6] y)"
SHARED = {"w": (4, 4, 1, 1), "v": (4, 2, 1, 1), "bias": (4,), "s": (1, 4, 1, 1), "t": (4, 1, 1), "k": (4, 4, 3, 3)}


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("a = Mul(x, s) b = Conv(a, w, bias) c = Conv<group = 2>(a, v)", 1),
        ("a = Add(t, x) b = Conv(a, w, bias) c = Conv<group = 2>(a, v)", 1),
        ("n = Mul(x, s) a = Add(n, t) b = Conv(a, w) c = Conv(a, w, bias)", 2),
        ("a = Mul(x, s) b = Conv<pads = [1, 1, 1, 1]>(a, k) c = Conv(a, w)", 1),
        ("a = Add(x, t) b = Conv<pads = [1, 1, 1, 1]>(a, k) c = Conv(a, w)", 0),  # zero padding would not see it
        ("a = Mul(x, s) b = Conv(a, w) c = Relu(a)", 0),
        ("a = Mul(x, m) b = Conv(a, w) c = Conv(a, w)", 0),  # no value for each channel
    ],
)
def test_an_affine_before_two_convolutions(text: str, folded: int) -> None:
    named = SHARED | {"m": np.float32(2)}
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    graph = network(f"{TWO} {{ {text} y = Concat<axis = 1>(b, c) }}", {k: v for k, v in named.items() if k in words})
    before, count = run(graph, IMAGE), len(graph.nodes)
    check_sites(graph, [FoldAffine()])
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": folded}
    assert len(graph.nodes) == count - folded
    assert difference(run(graph, IMAGE), before) < 2e-6


def test_an_affine_that_is_an_output_stays() -> None:
    text = "(float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y, float[1, 4, 6, 6] a) {"
    graph = network(
        f"{text} a = Mul(x, s) b = Conv(a, w) c = Conv(a, w) y = Add(b, c) }}", {"w": (4, 4, 1, 1), "s": (1, 4, 1, 1)}
    )
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 0}


def test_an_affine_after_a_fragment_without_shapes_folds() -> None:
    text = f"{TWO} {{ n = Relu(x) a = Mul(n, s) b = Conv(a, w) c = Conv(a, w) y = Concat<axis = 1>(b, c) }}"
    graph = network(text, {"w": (4, 4, 1, 1), "s": (1, 4, 1, 1)})
    before = run(graph, IMAGE)
    graph.nodes[0].outputs[0].shape = None  # as a selection that was just applied leaves it
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": 1}
    assert difference(run(graph, IMAGE), before) < 2e-6
