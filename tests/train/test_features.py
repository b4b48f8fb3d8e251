"""Which features a rewritten network still has in common with the original."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphs import rewritten
from priced_space import rule

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.train.features import shared_features

SUMS = ["encoders_0_0_y", "enc", "middle_blks_0_y", "mid", "joined", "decoders_0_0_y", "dec"]


def test_they_are_the_residual_sums(nafnet_graph: gs.Graph) -> None:
    """Neither the sums with a constant inside norms, nor the result of the network."""
    assert shared_features(nafnet_graph, nafnet_graph) == SUMS


def test_what_a_rewrite_takes_away_is_not_shared(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    chosen = to_graph(
        to_model(rewritten(nafnet_graph, rule("skip-feed-forward"), images, "middle_blks.0/feed-forward"))
    )
    assert shared_features(chosen, nafnet_graph) == [name for name in SUMS if name != "mid"]


def test_nothing_in_common_is_one_message(nafnet_graph: gs.Graph) -> None:
    bare = nafnet_graph.copy()
    bare.nodes[:] = [node for node in bare.nodes if node.op != "Add"]
    with pytest.raises(GraphoptError, match="'features' needs residual sums that the network shares"):
        shared_features(bare, nafnet_graph)
