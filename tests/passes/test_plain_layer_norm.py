"""plain-layer-norm: the op LayerNormalization as single ops."""

from __future__ import annotations

from graphopt.passes.plain_layer_norm import PlainLayerNorm
from graphs import difference, kinds, refused, rewritten, run, site_names
from norms import SCENES, norm, over_space


def test_it_is_exact() -> None:
    graph = norm("transposed")
    assert site_names(graph, PlainLayerNorm()) == ["block.0/norm1"]
    chosen = rewritten(graph, PlainLayerNorm(), SCENES)
    assert kinds(chosen) == ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]
    for factor in (1, 1e-3):  # small values: epsilon counts
        assert difference(run(chosen, factor * SCENES[0]), run(graph, factor * SCENES[0])) < 2e-6


def test_it_refuses_what_is_plain_already() -> None:
    assert "it is in single ops already" in refused(norm("decomposed"), PlainLayerNorm())
    assert site_names(over_space(), PlainLayerNorm()) == []
