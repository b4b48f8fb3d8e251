"""low-rank-pointwise: the best thin pair for the calibration images."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.low_rank_pointwise import LowRankPointwise
from graphs import difference, network, refused, rewritten, run, site_names
from layers import IMAGES, SIGNATURE


def pointwise(weight: Any, bias: bool = True, attributes: str = "", size: tuple[int, int] = (12, 10)) -> gs.Graph:
    text = f"{SIGNATURE.format(6, *size)} {{ y = Conv{attributes}(x, w{', b' if bias else ''}) }}"
    return network(text, {"w": weight, "b": (6,)})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("attributes", "size"), [("", (12, 10)), ("<strides = [2, 2], kernel_shape = [1, 1]>", (6, 5))]
)
def test_low_rank_pointwise_is_exact_for_low_rank(bias: bool, attributes: str, size: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    weight = (random.normal(size=(6, 2)) @ random.normal(size=(2, 8))).reshape(6, 8, 1, 1)
    graph = pointwise(weight, bias, attributes, size)
    chosen = rewritten(graph, LowRankPointwise(share=0.33), IMAGES)
    assert [node.inputs[1].values.shape for node in chosen.nodes] == [(2, 8, 1, 1), (6, 2, 1, 1)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_low_rank_pointwise_loses_the_least_that_it_can() -> None:
    """Against Eckart-Young on the responses themselves, whose second moment is what must be kept."""
    spread = np.float32([6, 4, 2, 1, 0.5, 0.3, 0.2, 0.1]).reshape(1, 8, 1, 1)
    images = [image * spread for image in IMAGES]
    graph = pointwise((6, 8, 1, 1), bias=False)
    chosen = rewritten(graph, LowRankPointwise(share=0.33), images)
    lost = sum(np.square(run(chosen, image) - run(graph, image)).sum() for image in images)
    responses = np.concatenate([run(graph, image)[0].reshape(6, -1) for image in images], axis=1)
    assert lost < 1.02 * np.square(np.linalg.svd(responses, compute_uv=False)[2:]).sum()
    means = [np.mean([run(g, image).mean(axis=(0, 2, 3)) for image in images], axis=0) for g in (graph, chosen)]
    np.testing.assert_allclose(means[1], means[0], atol=1e-5)


def test_sites_and_what_it_refuses(nafnet_graph: gs.Graph) -> None:
    names = site_names(nafnet_graph, LowRankPointwise())
    convs = [f"{block}/conv{n}" for block in ("encoders.0.0", "middle_blks.0", "decoders.0.0") for n in (1, 3, 4, 5)]
    assert sorted(names) == sorted([*convs, "ups.0.0"])
    assert refused(pointwise((6, 8, 1, 1)), LowRankPointwise(share=0.6)) == ["rank 4 of 6x8 saves nothing"]
    text = "(float[1, 8, 12, 10] x) => (float[1, 8, 1, 1] y) { p = GlobalAveragePool(x) y = Conv(p, w) }"
    reasons = refused(network(text, {"w": (8, 8, 1, 1)}), LowRankPointwise())
    assert reasons == ["it reads one pixel: narrow-attention is for these"]


@pytest.mark.parametrize("share", [0, 1, -2])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ValueError, match=f"option 'share' is {share}; expected a number between 0 and 1"):
        LowRankPointwise(share=share)
