"""pointwise-layer-norm: every spelling of the norm, in products with matrices."""

from __future__ import annotations

import numpy as np
from graphopt.passes.fold_affine import FoldAffine
from graphopt.passes.pointwise_layer_norm import PointwiseLayerNorm
from graphs import difference, kinds, refused, rewritten, run, site_names
from norms import READ_INSIDE, SCENES, norm, over_space, read_inside, spellings

from graphopt.ir.rewriting import rewrite_everywhere

MADE = ["Conv", "Mul", "Conv", "Sqrt", "Reciprocal", "Conv", "Mul", "Mul", "Add"]


@spellings
def test_it_is_exact(spelling: str) -> None:
    graph = norm(spelling)
    chosen = rewritten(graph, PointwiseLayerNorm(), SCENES)
    assert kinds(chosen) == MADE
    for factor in (50, 1, 0.01):  # small values: epsilon counts
        assert difference(run(chosen, factor * SCENES[0]), run(graph, factor * SCENES[0])) < 2e-6


def test_a_mean_far_from_zero() -> None:
    """The variance is that of what is centred: as the difference of two squares it would be noise here."""
    graph = norm("decomposed")
    chosen = rewritten(graph, PointwiseLayerNorm(), SCENES)
    far = SCENES[0] + np.float32(100)
    assert difference(run(chosen, far), run(graph, far)) < 2e-4


def test_only_scale_and_shift_are_trained() -> None:
    chosen = rewritten(norm("decomposed"), PointwiseLayerNorm(), SCENES)
    trained = [
        t.name for node in chosen.nodes for t in node.inputs[1:] if hasattr(t, "values") and "_fixed" not in t.name
    ]
    assert [name.rsplit("/")[-1] for name in trained] == ["scale", "shift"]
    rewrite_everywhere(chosen, [FoldAffine()])
    assert kinds(chosen) == MADE  # nothing folds into the fixed matrices


def test_norms_that_stay() -> None:
    assert set(refused(read_inside(), PointwiseLayerNorm())) == READ_INSIDE
    assert site_names(over_space(), PointwiseLayerNorm()) == []
