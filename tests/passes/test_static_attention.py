"""static-attention: the mean attention over the calibration images."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.static_attention import StaticAttention
from graphs import difference, kinds, network, rewritten, run, site_names
from layers import IMAGES, X_TO_Y, attention

from graphopt.ir.view import GraphView


@pytest.mark.parametrize("pool", ["ReduceMean<keepdims = 1>(x, axes)", "GlobalAveragePool(x)"])
@pytest.mark.parametrize("mul", ["x, a", "a, x"])
@pytest.mark.parametrize("start", ["mean", "one"])
def test_the_scale_is_the_mean_attention(pool: str, mul: str, start: str) -> None:
    graph = attention(pool=pool, mul=mul)
    chosen = rewritten(graph, StaticAttention(start=start), IMAGES)
    assert kinds(chosen) == ["Mul"]
    weight, bias = (graph.tensors()[n].values for n in ("w", "bias"))
    attentions = [weight[:, :, 0, 0] @ image.mean(axis=(2, 3))[0] + bias for image in IMAGES]
    scale = np.mean(attentions, axis=0) if start == "mean" else np.ones(8)
    assert difference(run(chosen, IMAGES[1]), IMAGES[1] * scale.reshape(1, -1, 1, 1)) < 1e-5


def test_attentions_are_sites(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, StaticAttention()) == [f"{block}/attention" for block in blocks]
    assert site_names(attention(), StaticAttention()) == ["b.0"]


def test_spatial_attention_is_none() -> None:
    text = f"{X_TO_Y} {{ p = ReduceMean<keepdims = 1>(x, axes) a = Conv(p, w) y = Mul(x, a) }}"
    view = GraphView(network(text, {"w": (8, 1, 1, 1), "axes": np.array([1])}))
    assert list(StaticAttention().sites(view)) == []
    assert view.refusals == [("mul", "reducemean: attribute axes: expected (2, 3), found (1,)")]
