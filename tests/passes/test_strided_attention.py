"""strided-attention: a pool that reads every n-th pixel."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.strided_attention import StridedAttention
from graphs import difference, kinds, refused, rewritten, run, site_names
from layers import IMAGES, attention


def by_hand(graph: gs.Graph, image: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    weight, bias = (graph.tensors()[name].values for name in ("w", "bias"))
    return image * (weight[:, :, 0, 0] @ pooled + bias).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("pool", ["ReduceMean<keepdims = 1>(x, axes)", "GlobalAveragePool(x)"])
@pytest.mark.parametrize("stride", [2, 3, 64])
def test_strided_attention(pool: str, stride: int) -> None:
    graph = attention(pool=pool)
    chosen = rewritten(graph, StridedAttention(stride=stride), IMAGES)
    assert kinds(chosen) == ["Slice", "ReduceMean", "Conv", "Mul"]
    image = IMAGES[1]
    expected = by_hand(graph, image, image[0, :, ::stride, ::stride].mean(axis=(1, 2)))
    assert difference(run(chosen, image), expected) < 1e-5
    assert difference(run(chosen, image), run(graph, image)) > 1e-3


def test_strided_attention_is_exact_on_flat_images() -> None:
    graph, image = attention(bias=False), np.broadcast_to(IMAGES[0][:, :, :1, :1], IMAGES[0].shape).copy()
    assert difference(run(rewritten(graph, StridedAttention(), IMAGES), image), run(graph, image)) < 1e-6


def test_attentions_are_sites(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, StridedAttention()) == [f"{block}/attention" for block in blocks]


def test_an_attention_that_is_read_elsewhere_stays() -> None:
    graph = attention()
    graph.outputs.append(graph.tensors()["a"])
    assert refused(graph, StridedAttention()) == ["a, inside the site, is an output of the graph"]


@pytest.mark.parametrize("stride", [1, 0, -2])
def test_strides_that_are_none(stride: int) -> None:
    with pytest.raises(ValueError, match=f"option 'stride' is {stride}; expected 2 or more"):
        StridedAttention(stride=stride)
