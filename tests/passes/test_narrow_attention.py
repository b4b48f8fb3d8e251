"""narrow-attention: the 1x1 of channel attention in two thin ones, or in groups."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.narrow_attention import NarrowAttention
from graphs import difference, refused, rewritten, run, site_names
from layers import IMAGES, attention


@pytest.mark.parametrize(("form", "shape"), [("low-rank", [(2, 8, 1, 1), (8, 2, 1, 1)]), ("grouped", [(8, 2, 1, 1)])])
@pytest.mark.parametrize("bias", [True, False])
def test_narrow_attention_keeps_the_mean_attention(form: str, shape: list[tuple[int, ...]], bias: bool) -> None:
    graph = attention(bias=bias)
    chosen = rewritten(graph, NarrowAttention(form=form), IMAGES)
    assert [node.inputs[1].values.shape for node in chosen.nodes if node.op == "Conv"] == shape
    one = np.ones((1, 8, 12, 10), np.float32)
    mean = np.mean([image.mean(axis=(0, 2, 3)) for image in IMAGES], axis=0).reshape(1, -1, 1, 1) * one
    assert difference(run(chosen, mean), run(graph, mean)) < 1e-5
    assert difference(run(chosen, IMAGES[2]), run(graph, IMAGES[2])) > 1e-3


@pytest.mark.parametrize("form", ["low-rank", "grouped"])
def test_narrow_attention_is_exact_where_the_weight_is_narrow(form: str) -> None:
    random = np.random.default_rng(7)
    if form == "low-rank":
        weight = random.normal(size=(8, 2)) @ random.normal(size=(2, 8))
    else:
        weight = np.kron(np.eye(4), np.ones((2, 2))) * random.normal(size=(8, 8))
    graph = attention(weight.reshape(8, 8, 1, 1))
    chosen = rewritten(graph, NarrowAttention(form=form), IMAGES)
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_low_rank_is_the_best_by_svd() -> None:
    graph = attention()
    squeeze, weight = (
        node.inputs[1].values[:, :, 0, 0]
        for node in rewritten(graph, NarrowAttention(), IMAGES).nodes
        if node.op == "Conv"
    )
    u, s, v = np.linalg.svd(graph.tensors()["w"].values[:, :, 0, 0])
    np.testing.assert_allclose(weight @ squeeze, (u[:, :2] * s[:2]) @ v[:2], atol=1e-5)


def test_attentions_are_sites(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, NarrowAttention()) == [f"{block}/attention" for block in blocks]


def test_it_refuses_what_saves_nothing() -> None:
    graph = attention()
    assert refused(graph, NarrowAttention(share=0.5)) == ["rank 4 of 8 channels saves nothing"]
    assert refused(graph, NarrowAttention(form="grouped", share=0.34)) == ["8 channels do not fall into 3 groups"]
    reasons = refused(attention((1, 8, 1, 1), bias=False), NarrowAttention())
    assert reasons == ["expected an attention of 1x1 with as many outputs as inputs, found 1x8 [1, 1]"]


@pytest.mark.parametrize("share", [0, 1.5])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ValueError, match=f"option 'share' is {share}; expected a number between 0 and 1"):
        NarrowAttention(share=share)
