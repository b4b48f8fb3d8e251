"""Fragments in place of sites: neighbours, nesting, skips, outputs of the graph, and clean-ups to a fixpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.skip_feed_forward import SkipFeedForward
from graphopt.passes.static_attention import StaticAttention
from graphs import difference, kinds, network, random_image, run

from graphopt import Contract, GraphoptError, Pass, Stage, const, op, pattern
from graphopt.ir.build import Build
from graphopt.ir.canonical import to_model
from graphopt.ir.rewriting import Splicer, apply_selection, build_fragment, rewrite_everywhere, rewrite_once
from graphopt.ir.sites import Site
from graphopt.ir.space import Space
from graphopt.ir.space_building import build_space
from graphopt.ir.view import GraphView

IMAGE = "float[1, 4, 8, 8]"
X = random_image(1, 4, 8, 8)


@dataclass(frozen=True)
class Swap(Pass):
    """OLD(x)  ->  NEW(x); the empty NEW leaves it out."""

    name: ClassVar[str] = "swap"
    contract: ClassVar[Contract] = Contract.TUNED

    old: str
    new: str

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(pattern(lambda x: getattr(op, self.old)(x)), label=self.old.lower())

    def rewrite(self, site: Site, build: Build) -> object:
        x = build.input("x")
        return build.op(self.new, [x]) if self.new else x


def splice_all(graph: gs.Graph, *rules: Pass, backwards: bool = False) -> gs.Graph:
    """All sites are found before the first one is replaced."""
    view = GraphView(graph)
    found = [(site, build_fragment(rule, site, view, None)) for rule in rules for site in rule.sites(view)]
    splicer = Splicer(graph)
    for site, fragment in reversed(found) if backwards else found:
        splicer.splice(site, fragment)
    return splicer.finish()


@pytest.mark.parametrize("backwards", [False, True])
def test_adjacent_sites(backwards: bool) -> None:
    graph = network(f"({IMAGE} x) => ({IMAGE} y) {{ a = Exp(x) b = Exp(a) c = Exp(b) y = Exp(c) }}")
    splice_all(graph, Swap("Exp", "Tanh"), backwards=backwards)
    assert kinds(graph) == ["Tanh"] * 4
    assert difference(run(graph, X), np.tanh(np.tanh(np.tanh(np.tanh(X))))) < 1e-5
    assert [tensor.name for tensor in graph.outputs] == ["y"]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a skipped site beside others that read its output and its input
        ("a = Exp(x) b = Neg(a) c = Exp(b) d = Exp(a) y = Sub(c, d)", np.tanh(np.tanh(X)) - np.tanh(np.tanh(X))),
        ("a = Exp(x) b = Neg(a) c = Neg(b) d = Exp(c) y = Sub(d, x)", np.tanh(np.tanh(X)) - X),
        ("a = Neg(x) b = Exp(a) y = Add(b, a)", np.tanh(X) + X),
        ("a = Neg(x) y = Exp(a)", np.tanh(X)),
        ("a = Exp(x) y = Neg(a)", np.tanh(X)),
        ("a = Neg(x) b = Exp(a) y = Neg(b)", np.tanh(X)),
        ("a = Exp(x) b = Neg(a) y = Neg(b)", np.tanh(X)),
    ],
)
def test_skips_beside_other_sites(text: str, expected: np.ndarray, backwards: bool) -> None:
    graph = network(f"({IMAGE} x) => ({IMAGE} y) {{ {text} }}")
    splice_all(graph, Swap("Neg", ""), Swap("Exp", "Tanh"), backwards=backwards)
    assert "Neg" not in kinds(graph)
    assert "Exp" not in kinds(graph)
    np.testing.assert_allclose(run(graph, X), expected, atol=1e-6)
    assert [tensor.name for tensor in graph.outputs] == ["y"]


def test_a_skipped_network_keeps_its_output() -> None:
    graph = splice_all(network(f"({IMAGE} x) => ({IMAGE} y) {{ y = Neg(x) }}"), Swap("Neg", ""))
    assert kinds(graph) == ["Identity"]
    assert [tensor.name for tensor in graph.outputs] == ["y"]
    np.testing.assert_array_equal(run(graph, X), X)


def test_an_output_of_the_graph_that_is_read_inside_too() -> None:
    graph = network(f"({IMAGE} x) => ({IMAGE} z, {IMAGE} y) {{ y = Neg(x) z = Exp(y) }}")
    splice_all(graph, Swap("Neg", ""), Swap("Exp", "Tanh"))
    assert [tensor.name for tensor in graph.outputs] == ["z", "y"]
    np.testing.assert_allclose(run(graph, X), np.tanh(X), atol=1e-6)


def test_everything_else_survives() -> None:
    text = f"""({IMAGE} x, {IMAGE} u) => ({IMAGE} y, {IMAGE} z) {{
        ["a/exp"] a = Exp(x) ["b/mul"] b = Mul(a, "b.scale") y = Add(b, "b.shift") z = Relu(u) }}"""
    graph = network(text, {"b.scale": (1, 4, 1, 1), "b.shift": (1, 4, 1, 1)})
    before = {node.name: node.op for node in graph.nodes if node.op != "Exp"}
    splice_all(graph, Swap("Exp", "Tanh"))
    assert before.items() <= {node.name: node.op for node in graph.nodes}.items()
    assert [t.name for t in graph.inputs] == ["x", "u"]
    assert [t.name for t in graph.outputs] == ["y", "z"]
    assert {t.name for t in graph.tensors().values() if isinstance(t, gs.Constant)} == {"b.scale", "b.shift"}
    assert [(node.op, node.name) for node in graph.nodes if node.op == "Tanh"] == [("Tanh", "a@swap/tanh")]


@pytest.fixture(scope="module")
def space(_nafnet_once: gs.Graph, images: list[np.ndarray]) -> Space:
    rules = [AffineNorm(), StaticAttention(), SkipFeedForward()]
    return build_space(_nafnet_once.copy(), rules, images, [], lambda share, text: None)


def test_keeping_everything_is_the_original_bit_for_bit(space: Space, images: list[np.ndarray]) -> None:
    kept = apply_selection(space, {name: "keep" for name in space.choices})
    np.testing.assert_array_equal(run(kept, images[0]), run(space.graph, images[0]))
    constants = [
        {n: t.values.tobytes() for n, t in g.tensors().items() if hasattr(t, "values")} for g in (kept, space.graph)
    ]
    assert constants[0] == constants[1]
    assert [node.name for node in kept.nodes] == [node.name for node in space.graph.nodes]
    assert apply_selection(space, {}).nodes == space.graph.copy().nodes


def test_a_choice_inside_a_replaced_site_has_no_effect(space: Space, images: list[np.ndarray]) -> None:
    outer, inner = "encoders.0.0/feed-forward", "encoders.0.0/norm2"
    both = apply_selection(space, {outer: "skip-feed-forward", inner: "affine-norm"})
    only = apply_selection(space, {outer: "skip-feed-forward"})
    assert kinds(both) == kinds(only)
    np.testing.assert_array_equal(run(both, images[0]), run(only, images[0]))
    inner_only = apply_selection(space, {outer: "keep", inner: "affine-norm"})
    assert len(inner_only.nodes) == len(space.graph.nodes) - 9 + 2


def test_a_selection_does_not_change_the_space(space: Space, images: list[np.ndarray]) -> None:
    before, names = run(space.graph, images[0]), [node.name for node in space.graph.nodes]
    everything = {name: choice.options[-1] for name, choice in space.choices.items()}
    first, second = (run(apply_selection(space, everything), images[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert difference(first, before) > 1e-3
    np.testing.assert_array_equal(run(space.graph, images[0]), before)
    assert [node.name for node in space.graph.nodes] == names


def test_selections_that_the_space_does_not_hold(space: Space) -> None:
    with pytest.raises(GraphoptError, match=r"unknown choice 'encoders.0.0/norm3'; did you mean 'encoders.0.0/norm"):
        apply_selection(space, {"encoders.0.0/norm3": "keep"})
    with pytest.raises(
        GraphoptError, match=r"'encoders.0.0/norm1' has no candidate 'affine'; did you mean 'affine-norm'"
    ):
        apply_selection(space, {"encoders.0.0/norm1": "affine"})


@dataclass(frozen=True)
class Halve(Pass):
    """exp(exp(x))  ->  exp(x)."""

    name: ClassVar[str] = "halve"
    contract: ClassVar[Contract] = Contract.TUNED
    stage: ClassVar[Stage] = Stage.CLEANUP

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(pattern(lambda x: op.Exp(op.Exp(x))), label="pair")

    def rewrite(self, site: Site, build: Build) -> object:
        return build.op("Exp", [build.input("x")])


def test_rewriting_goes_on_until_nothing_changes() -> None:
    chain = " ".join(f"t{i + 1} = Exp(t{i})" for i in range(7))
    graph = network(f"({IMAGE} t0) => ({IMAGE} t7) {{ {chain} }}")
    assert rewrite_everywhere(graph, [Halve()]) == {"halve": 6}
    assert kinds(graph) == ["Exp"]
    assert [tensor.name for tensor in graph.outputs] == ["t7"]
    assert not any("@" in node.name for node in graph.nodes)


def test_one_round_only() -> None:
    chain = " ".join(f"t{i + 1} = Exp(t{i})" for i in range(7))
    graph = network(f"({IMAGE} t0) => ({IMAGE} t7) {{ {chain} }}")
    assert rewrite_once(graph, Halve()) == 3
    assert len(graph.nodes) == 4
    assert len({node.name for node in graph.nodes}) == 4
    assert rewrite_once(graph, Swap("Tanh", "Exp")) == 0


def test_passes_that_undo_each_other() -> None:
    graph = network(f"({IMAGE} x) => ({IMAGE} y) {{ y = Exp(x) }}")

    @dataclass(frozen=True)
    class Back(Swap):
        name: ClassVar[str] = "back"

    with pytest.raises(
        GraphoptError, match="passes swap, back go on rewriting each other's results; leave one of them out"
    ):
        rewrite_everywhere(graph, [Swap("Exp", "Tanh"), Back("Tanh", "Exp")])


def test_overlapping_sites_of_one_pass_wait_for_the_next_round() -> None:
    @dataclass(frozen=True)
    class Greedy(Halve):
        def sites(self, graph: GraphView) -> Iterable[Site]:
            first = graph.find(pattern(lambda x: op.Exp(op.Exp(x))), label="pair")
            return [*first, *graph.find(pattern(lambda x: op.Exp(op.Exp(op.Exp(x)))), label="pair")]

    graph = network(f"({IMAGE} x) => ({IMAGE} y) {{ a = Exp(x) b = Exp(a) y = Exp(b) }}")
    assert rewrite_everywhere(graph, [Greedy()]) == {"halve": 2}
    assert kinds(graph) == ["Exp"]


def test_fragments_of_every_kind_of_result() -> None:
    """An integer constant of the host, an op with two outputs, a constant as the whole result."""

    @dataclass(frozen=True)
    class Odd(Swap):
        def rewrite(self, site: Site, build: Build) -> object:
            if site.name == "exp":
                return build.parameter("plane", np.full((1, 4, 8, 8), 3))
            first, second = build.split(build.input("x"), [1, 3])
            axes = build.host("axes")
            assert axes.values.dtype == np.int64
            mean = build.op("ReduceMean", [first, axes], keepdims=1)
            rows = build.op("Shape", [second])
            return build.concat([mean, build.op("Reshape", [second, rows])])

    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Exp(x) m = ReduceMean(x, axes) b = Add(a, m) y = Exp(b) }}"
    graph = network(text, {"axes": np.array([1])})
    splice_all(graph, Odd("Exp", ""))
    mean = X.mean(axis=1, keepdims=True) + 3
    np.testing.assert_allclose(run(graph, X), np.broadcast_to(mean, (1, 4, 8, 8)), atol=1e-6)
    assert to_model(graph).opset_import[0].version == 20


def test_dead_weights_go_and_shared_ones_stay() -> None:
    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Conv(x, w, dead) b = Conv(a, w) y = Exp(b) }}"
    graph = network(text, {"w": (4, 4, 1, 1), "dead": (4,)})
    rule = pattern(lambda x: op.Conv(x, const("weight"), const("bias")))

    @dataclass(frozen=True)
    class Drop(Swap):
        def sites(self, graph: GraphView) -> Iterable[Site]:
            return graph.find(rule)

    splice_all(graph, Drop("", ""))
    assert {name for name, t in graph.tensors().items() if isinstance(t, gs.Constant)} == {"w"}
