"""skip-spatial: the first half of a block becomes its input."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from clamps import clamped
from graphopt.passes.skip_spatial import SkipSpatial
from graphs import difference, rewritten, run, site_names

from graphopt.ir.view import GraphView


@pytest.mark.parametrize("clamp", [False, True])
def test_what_is_left_is_the_input(nafnet_graph: gs.Graph, images: list[np.ndarray], clamp: bool) -> None:
    graph = clamped(nafnet_graph, images) if clamp else nafnet_graph
    chosen = rewritten(graph, SkipSpatial(), images, "middle_blks.0/spatial")
    expected = graph.copy()
    for user in list(expected.tensors()["middle_blks_0_y"].outputs):
        for position, tensor in enumerate(user.inputs):
            if tensor.name == "middle_blks_0_y":
                user.inputs[position] = expected.tensors()["down"]
    assert len(chosen.nodes) == len(expected.cleanup().nodes)
    np.testing.assert_array_equal(run(chosen, images[0]), run(expected, images[0]))
    assert difference(run(chosen, images[0]), run(graph, images[0])) > 1e-3


def test_sites_and_what_it_refuses(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, SkipSpatial()) == [
        f"{b}/spatial" for b in ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    ]
    nafnet_graph.outputs.append(nafnet_graph.tensors()["middle_blks_0_g"])
    view = GraphView(nafnet_graph)
    assert [site.name for site in SkipSpatial().sites(view)] == ["encoders.0.0/spatial", "decoders.0.0/spatial"]
    assert "middle_blks_0_g, inside the site, is an output of the graph" in dict(view.refusals).values()
