"""Channel attention with every way to take the mean of an image."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.narrow_attention import NarrowAttention
from graphopt.passes.static_attention import StaticAttention
from graphopt.passes.strided_attention import StridedAttention
from graphopt.passes.two_step_pool import TwoStepPool
from graphs import difference, kinds, network, random_image, rewritten, run

from graphopt import GraphView, Pass
from graphopt.idioms import channel_attention

WEIGHTS = {"axes": np.array([2, 3]), "w": (4, 4, 1, 1), "b": (4,)}
POOLS = {
    "reduced": "p = ReduceMean(t, axes)",
    "global": "p = GlobalAveragePool(t)",
    "a window over the whole image": "p = AveragePool<kernel_shape = [8, 6]>(t)",
    "a window with strides": "p = AveragePool<kernel_shape = [8, 6], strides = [8, 6], count_include_pad = 1>(t)",
}
IMAGE = random_image(1, 4, 8, 6)


def attention(pool: str) -> str:
    return f"(float[1, 4, 8, 6] x) => (float[1, 4, 8, 6] y) {{ t = Tanh(x) {pool} s = Conv(p, w, b) y = Mul(t, s) }}"


@pytest.mark.parametrize("rule", [StaticAttention(), StridedAttention(), NarrowAttention()], ids=lambda r: r.name)
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_every_pass_finds_the_attention(pool: str, rule: Pass) -> None:
    graph = network(attention(pool), WEIGHTS)
    (site,) = rule.sites(GraphView(graph))
    assert len(site.nodes) == 3
    assert "AveragePool" not in kinds(rewritten(graph, rule, [IMAGE]))


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_every_pool_can_be_two_steps(pool: str) -> None:
    graph = network(attention(pool), WEIGHTS)
    after = rewritten(graph, TwoStepPool(), [IMAGE])
    assert kinds(after) == ["Tanh", "ReduceMean", "ReduceMean", "Conv", "Mul"]
    assert difference(run(after, IMAGE), run(graph, IMAGE)) < 1e-6


@pytest.mark.parametrize(
    "pool",
    [
        "p = AveragePool<kernel_shape = [8, 5], strides = [8, 5]>(t)",
        "p = AveragePool<kernel_shape = [8, 6], strides = [8, 6], pads = [1, 0, 0, 0], count_include_pad = 1>(t)",
        "p = GlobalMaxPool(t)",
    ],
    ids=["less than the image", "with a border", "the largest value"],
)
def test_other_pools_are_none(pool: str) -> None:
    assert GraphView(network(attention(pool), WEIGHTS)).find(channel_attention) == []
