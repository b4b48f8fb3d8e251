"""two-step-pool: a global mean over rows, then over columns."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.strided_attention import StridedAttention
from graphopt.passes.two_step_pool import TwoStepPool
from graphs import difference, kinds, network, refused, rewritten, run, space_of
from layers import IMAGES, X_TO_Y, attention

from graphopt import Contract


@pytest.mark.parametrize("pool", ["ReduceMean<keepdims = 1>(x, axes)", "GlobalAveragePool(x)"])
def test_it_is_exact(pool: str) -> None:
    graph = attention(pool=pool)
    chosen = rewritten(graph, TwoStepPool(), IMAGES)
    assert kinds(chosen) == ["ReduceMean", "ReduceMean", "Conv", "Mul"]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6


def test_the_pool_is_nested_in_the_attention() -> None:
    space = space_of(attention(), [StridedAttention(), TwoStepPool()], IMAGES)
    parents = {name: (choice.parent, choice.options) for name, choice in space.choices.items()}
    assert parents == {"b.0": (None, ("keep", "strided-attention")), "b.0/pool": ("b.0", ("keep", "two-step-pool"))}
    assert space.choices["b.0/pool"].candidates["two-step-pool"].contract is Contract.EXACT


def test_pools_over_other_axes_are_left_alone() -> None:
    text = f"{X_TO_Y} {{ p = ReduceMean<keepdims = 1>(x, axes) y = Mul(x, p) }}"
    assert refused(network(text, {"axes": np.array([1])}), TwoStepPool()) == []
    flat = "(float[1, 8, 6] x) => (float[1, 8, 6] y) { p = GlobalAveragePool(x) y = Mul(x, p) }"
    assert refused(network(flat), TwoStepPool()) == ["expected a tensor of 4 dimensions, found 3"]
