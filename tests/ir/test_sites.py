"""Where sites lie: names, nesting, convexity, and why a place is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.skip_block import SkipBlock
from graphopt.passes.skip_feed_forward import SkipFeedForward, feed_forward
from graphs import difference, network, random_image, run

from graphopt import Contract, GraphoptError, Pass, const, op, pattern
from graphopt.idioms import channel_attention, channel_layer_norm, gate
from graphopt.ir.build import Build
from graphopt.ir.naming import common_prefix
from graphopt.ir.regions import Regions, region_graph
from graphopt.ir.sites import Site, parent_of
from graphopt.ir.space_building import build_space
from graphopt.ir.view import GraphView

IMAGE = "float[1, 4, 8, 8]"
SQRT_EXP = pattern(lambda x: op.Exp(op.Sqrt(x)))


def silent(share: float, text: str) -> None: ...


def test_sites_are_named_after_modules(nafnet_graph: gs.Graph) -> None:
    view = GraphView(nafnet_graph)
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    norms = [site.name for site in view.find(channel_layer_norm, label="norm")]
    assert norms == [f"{block}/{norm}" for block in blocks for norm in ("norm1", "norm2")]
    # an attention is a part of its block only, and so are the two gates
    assert [site.name for site in view.find(channel_attention)] == [f"{block}/channel-attention" for block in blocks]
    gates = [site.name for site in view.find(gate, label="gate")]
    assert gates == [name for block in blocks for name in (f"{block}/gate", f"{block}/gate.2")]


def test_a_graph_without_modules_uses_the_label() -> None:
    graph = network(f"({IMAGE} x) => ({IMAGE} y) {{ a = Sqrt(x) b = Exp(a) c = Sqrt(b) y = Exp(c) }}")
    assert [site.name for site in GraphView(graph).find(SQRT_EXP, label="pair")] == ["pair", "pair.2"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["encoders.0.1/norm1/sub", "encoders.0.1/norm1/div"], "encoders.0.1/norm1"),
        (["encoders.0.1/norm1/sub", "encoders.0.1/norm10/div"], "encoders.0.1"),
        (["encoders.0/conv", "encoders.1/conv"], "encoders"),
        (["encoders.0/conv", "mid/conv"], ""),
        (["conv"], ""),
        ([], ""),
    ],
)
def test_common_prefix(names: list[str], expected: str) -> None:
    assert common_prefix(names) == expected


def test_norm2_lies_inside_the_feed_forward(nafnet_graph: gs.Graph) -> None:
    view = GraphView(nafnet_graph)
    norms = {site.name: site for site in view.find(channel_layer_norm, label="norm")}
    halves = {site.name: site for site in view.find(feed_forward)}
    outer, inner, other = (
        halves["encoders.0.0/feed-forward"], norms["encoders.0.0/norm2"], norms["encoders.0.0/norm1"],
    )  # fmt: skip
    assert outer.contains(inner)
    assert not inner.contains(outer)
    assert not outer.contains(outer)
    assert not outer.contains(other)
    assert not outer.crosses(inner)
    assert not outer.crosses(other)
    everything = [*norms.values(), *halves.values()]
    assert parent_of(inner, everything) is outer
    assert parent_of(other, everything) is None


def test_the_largest_form_is_the_site(nafnet_graph: gs.Graph) -> None:
    assert [len(site.nodes) for site in GraphView(nafnet_graph).find(channel_layer_norm)] == [9] * 6


def test_a_scale_that_is_used_elsewhere_leaves_the_smaller_form() -> None:
    """The norm without its scale is still a site where the scaled one is read from outside."""
    rule = pattern(lambda x: op.Relu(op.Sqrt(x)))
    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Sqrt(x) b = Relu(a) c = Exp(a) y = Add(b, c) }}"
    view = GraphView(network(text))
    assert view.find(rule) == []
    assert view.refusals == [("relu", "sqrt, inside the site, is also used by exp")]


def test_an_inner_tensor_that_is_an_output_of_the_graph() -> None:
    view = GraphView(network(f"({IMAGE} x) => ({IMAGE} y, {IMAGE} a) {{ a = Sqrt(x) y = Exp(a) }}"))
    assert view.find(SQRT_EXP) == []
    assert view.refusals == [("exp", "a, inside the site, is an output of the graph")]


def test_an_input_that_is_computed_inside() -> None:
    view = GraphView(network(f"({IMAGE} x) => ({IMAGE} y) {{ a = Sqrt(x) y = Add(a, a) }}"))
    assert view.find(pattern(lambda x, z: op.Add(op.Sqrt(x), z))) == []
    assert view.refusals == [("add", "its input 'z' is a, which is computed inside the site")]


def test_a_region_that_is_not_convex() -> None:
    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Sqrt(x) b = Relu(a) y = Add(a, b) }}"
    graph = network(text)
    assert Regions(graph).why_not_convex(["sqrt", "add"]) == "a path leaves it through relu and comes back at add"
    assert Regions(graph).why_not_convex(["sqrt", "relu", "add"]) is None
    assert Regions(graph).why_not_convex(["relu", "add"]) is None


def test_matches_of_one_pattern_do_not_overlap() -> None:
    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Exp(x) b = Exp(a) y = Exp(b) }}"
    view = GraphView(network(text))
    assert [site.nodes for site in view.find(pattern(lambda x: op.Exp(op.Exp(x))))] == [("exp_2", "exp_3")]
    assert view.refusals == [("exp_2", "it shares exp_2 with a match before it")]


def test_only_nearer_misses_are_told(nafnet_graph: gs.Graph) -> None:
    view = GraphView(nafnet_graph)
    assert view.find(channel_layer_norm, unless=lambda match: "not today") == []
    assert {reason for _, reason in view.refusals} == {"not today"}
    refusals = view.take_refusals("some-pass")
    assert {refusal.pass_name for refusal in refusals} == {"some-pass"}
    assert view.take_refusals("some-pass") == []


def middle(regions: Regions) -> list[str]:
    return [name for name in regions.nodes if name.startswith(("downs.0", "middle_blks.0"))]


def test_the_boundary_of_a_region(nafnet_graph: gs.Graph) -> None:
    regions = Regions(nafnet_graph)
    names = middle(regions)
    inputs, outputs = regions.boundary(names)
    assert ([t.name for t in inputs], [t.name for t in outputs]) == (["enc"], ["mid"])


def test_a_region_as_a_graph_computes_the_same(nafnet_graph: gs.Graph) -> None:
    regions = Regions(nafnet_graph)
    sub = region_graph(regions, middle(regions))
    whole = nafnet_graph.copy()
    tensors = whole.tensors()
    whole.outputs = [tensors["mid"]]
    image = random_image(1, 3, 16, 16)
    expected = run(whole.cleanup(), image)
    first = nafnet_graph.copy()
    first.outputs = [first.tensors()["enc"]]
    assert difference(run(sub, run(first.cleanup(), image)), expected) < 1e-6
    assert len(nafnet_graph.nodes) == len(regions.nodes)  # and the graph is untouched


@dataclass(frozen=True)
class Crossing(Pass):
    """Takes the last op of each norm together with the convolution behind it."""

    name: ClassVar[str] = "crossing"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        shifted = pattern(lambda x: op.Conv(op.Add(x, const("shift")), const("weight"), const("bias")))
        return graph.find(shifted, label="crossing")

    def rewrite(self, site: Site, build: Build) -> object:
        return build.conv(build.input("x"), build.parameter("weight", build.values("weight")))


def test_crossing_sites_are_refused_with_both_names(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    space = build_space(nafnet_graph, [AffineNorm(), Crossing()], images, [], silent)
    assert not any("crossing" in choice.candidates for choice in space.choices.values())
    refused = {r.where: r.reason for r in space.refusals if r.pass_name == "crossing" and "crosses" in r.reason}
    assert len(refused) == 6
    assert refused["encoders.0.0/crossing"] == "it crosses the site encoders.0.0/norm1"


def test_exclude(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    space = build_space(nafnet_graph, [AffineNorm(), SkipFeedForward()], images, ["middle*", "*/norm1"], silent)
    assert list(space.choices) == [
        "encoders.0.0/feed-forward", "decoders.0.0/feed-forward", "encoders.0.0/norm2", "decoders.0.0/norm2",
    ]  # fmt: skip
    assert {r.reason for r in space.refusals} == {"excluded by the configuration"}
    assert space.choices["encoders.0.0/norm2"].parent == "encoders.0.0/feed-forward"
    assert list(space.ancestors("encoders.0.0/norm2")) == ["encoders.0.0/feed-forward"]
    assert space.children("encoders.0.0/feed-forward") == ["encoders.0.0/norm2"]
    assert space.children(None) == ["encoders.0.0/feed-forward", "decoders.0.0/feed-forward"]


def test_a_pass_listed_twice(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    with pytest.raises(GraphoptError, match="pass affine-norm is listed twice and offers two candidates at encoders"):
        build_space(nafnet_graph, [AffineNorm(), AffineNorm()], images, [], silent)


def test_no_site_at_all(images: list[np.ndarray]) -> None:
    text = "(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) { y = Relu(x) }"
    space = build_space(network(text), [AffineNorm()], images, [], silent)
    assert space.choices == {}


def test_roles_of_a_site() -> None:
    site = Site("s", ("a",), {"x": "t"}, {"output": "u"}, {"weight": "w"}, {"inside": "v"})
    assert [site.tensor(role) for role in ("x", "output", "weight", "inside")] == ["t", "u", "w", "v"]
    with pytest.raises(KeyError):
        site.tensor("nothing")


def test_a_context_ends_where_a_tensor_has_several_users(nafnet_graph: gs.Graph) -> None:
    view = GraphView(nafnet_graph)
    (block,) = [site for site in SkipBlock().sites(view) if "middle" in site.name]
    names = view.regions.context(block.nodes)
    assert set(block.nodes) < set(names)
    assert not [name for name in names if name.startswith("decoders")]
    assert "ups.0.0/conv" in names  # a shift at the end of the block would fold into it


def test_blocks_that_follow_each_other_have_contexts_of_their_own() -> None:
    text = """(float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {
        c = Conv(x, w) a = Add(x, c) d = Conv(a, v) b = Add(a, d) e = Conv(b, u) y = Add(b, e) }"""
    graph = network(text, {name: (4, 4, 1, 1) for name in "wvu"})
    regions = GraphView(graph).regions
    first, second = ([node.name for node in graph.nodes if node.outputs[0].name in pair] for pair in ("ca", "db"))
    assert regions.context(first) == [*first, *second]  # not the third
