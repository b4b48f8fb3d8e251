"""skip-feed-forward: the second half of a block becomes its input."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from graphopt.passes.skip_feed_forward import SkipFeedForward
from graphs import (
    NORM_CONSTANTS,
    difference,
    inner,
    layer_norm,
    network,
    norm_weights,
    rewritten,
    run,
    site_names,
    space_of,
)

from graphopt.ir.rewriting import apply_selection
from graphopt.ir.view import GraphView


def test_skip_feed_forward_is_its_input(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    space = space_of(nafnet_graph, [SkipFeedForward()], images)
    site = space.choices["middle_blks.0/feed-forward"].site
    assert site.nodes[0] == "middle_blks.0/norm2/reducemean"
    assert site.nodes[-1] == "middle_blks.0/add_2"
    chosen = apply_selection(space, {"middle_blks.0/feed-forward": "skip-feed-forward"})
    assert len(chosen.nodes) == len(nafnet_graph.nodes) - len(site.nodes)
    # in the original, the upsampling reads y instead of y + gamma conv5(...)
    expected = nafnet_graph.copy()
    tensors = expected.tensors()
    wide = next(node for node in expected.nodes if node.name == "ups.0.0/conv")
    wide.inputs[0] = tensors[site.inputs["y"]]
    np.testing.assert_array_equal(run(chosen, images[0]), run(expected.cleanup(), images[0]))


def test_the_last_feed_forward_may_end_the_network(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    nafnet_graph.outputs = [nafnet_graph.tensors()["enc"]]
    graph = nafnet_graph.cleanup()
    chosen = rewritten(graph, SkipFeedForward(), images)
    assert [tensor.name for tensor in chosen.outputs] == ["enc"]
    assert difference(run(chosen, images[0]), inner(graph, images[0], "encoders_0_0_y")[0]) < 1e-5


def test_a_feed_forward_without_gamma_and_with_a_clamp(images: list[np.ndarray]) -> None:
    text = f"""(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {{
        {layer_norm("x", "n", "b.0.norm2", "transposed")}
        ["b.0/conv4/conv"] f = Conv(n, w4) ["b.0/clip"] k = Clip(f, low, high)
        ["b.0/split"] a, b = Split<axis = 1, num_outputs = 2>(k) ["b.0/mul"] g = Mul(a, b)
        ["b.0/conv5/conv"] c = Conv(g, w5, b5) ["b.0/add"] y = Add(c, x) }}"""
    weights = {"w4": (6, 3, 1, 1), "w5": (3, 3, 1, 1), "b5": (3,), "low": np.float32(-1), "high": np.float32(1)}
    graph = network(text, {**NORM_CONSTANTS, **norm_weights("b.0.norm2", 3, "transposed"), **weights})
    space = space_of(graph, [SkipFeedForward()], images)
    (name,) = space.choices
    assert len(space.choices[name].site.nodes) == len(graph.nodes)
    np.testing.assert_array_equal(run(apply_selection(space, {name: "skip-feed-forward"}), images[0]), images[0])


def test_sites_and_what_it_refuses(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, SkipFeedForward()) == [
        f"{b}/feed-forward" for b in ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    ]
    nafnet_graph.outputs.append(nafnet_graph.tensors()["middle_blks_0_h"])
    view = GraphView(nafnet_graph)
    assert [site.name for site in SkipFeedForward().sites(view)] == [
        "encoders.0.0/feed-forward",
        "decoders.0.0/feed-forward",
    ]
    assert "middle_blks_0_h, inside the site, is an output of the graph" in dict(view.refusals).values()
