"""fused-layer-norm: channel LayerNorm as the op LayerNormalization."""

from __future__ import annotations

import pytest
from graphopt.passes.fused_layer_norm import FusedLayerNorm
from graphs import difference, kinds, refused, rewritten, run, site_names
from norms import SCENES, norm, over_space


def test_it_is_exact() -> None:
    graph = norm("decomposed")
    assert site_names(graph, FusedLayerNorm()) == ["block.0/norm1"]
    chosen = rewritten(graph, FusedLayerNorm(), SCENES)
    assert kinds(chosen) == ["Transpose", "LayerNormalization", "Transpose"]
    assert chosen.nodes[1].attrs["epsilon"] == pytest.approx(1e-6, rel=1e-6)
    for factor in (1, 1e-3):  # small values: epsilon counts
        assert difference(run(chosen, factor * SCENES[0]), run(graph, factor * SCENES[0])) < 2e-6


def test_it_refuses_what_is_fused_already() -> None:
    assert "it is a LayerNormalization already" in refused(norm("transposed"), FusedLayerNorm())
    assert site_names(over_space(), FusedLayerNorm()) == []
