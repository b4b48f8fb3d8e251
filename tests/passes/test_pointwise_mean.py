"""pointwise-mean: what sums up channels is a convolution; what sums up anything else stays."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.pointwise_mean import PointwiseMean
from graphs import difference, kinds, nafnet, network, random_image, refused, rewritten, run, site_names
from layers import IMAGES

CONSTANTS = {"c": np.array([1]), "minus": np.array([-3]), "hw": np.array([2, 3]), "chw": np.array([1, 2, 3])}
ONE = "(float[1, 8, 12, 10] x) => (float[1, 1, 12, 10] y)"


@pytest.mark.parametrize(
    ("text", "weight", "opset"),
    [
        ("y = ReduceMean(x, c)", 0.125, 20),
        ("y = ReduceMean(x, minus)", 0.125, 20),
        ("y = ReduceMean<axes = [1]>(x)", 0.125, 17),
        ("y = ReduceSum(x, c)", 1.0, 20),
    ],
)
def test_a_mean_of_channels(text: str, weight: float, opset: int) -> None:
    graph = network(f"{ONE} {{ {text} }}", CONSTANTS, opset=opset)
    chosen = rewritten(graph, PointwiseMean(), IMAGES)
    assert kinds(chosen) == ["Conv"]
    share = chosen.nodes[0].inputs[1]
    assert share.name.endswith("_fixed")
    assert share.values.tolist() == [[[[weight]]] * 8]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6


@pytest.mark.parametrize("axes", ["hw", "chw"])
def test_other_means_stay(axes: str) -> None:
    text = f"(float[1, 8, 12, 10] x) => (float[1, n, a, b] y) {{ y = ReduceMean(x, {axes}) }}"
    assert site_names(network(text, CONSTANTS), PointwiseMean()) == []


def test_a_sequence_stays() -> None:
    graph = network("(float[1, 8, 12] x) => (float[1, 1, 12] y) { y = ReduceMean(x, c) }", CONSTANTS)
    assert refused(graph, PointwiseMean()) == ["expected a tensor of 4 dimensions, found 3"]


def test_two_of_each_norm() -> None:
    graph = nafnet()
    names = [
        f"{block}/norm{i}/channel-mean{n}"
        for block in ("encoders.0.0", "middle_blks.0", "decoders.0.0")
        for i in (1, 2)
        for n in ("", ".2")
    ]
    assert site_names(graph, PointwiseMean()) == names
    image = random_image(1, 3, 16, 16)
    chosen = rewritten(graph, PointwiseMean(), [image], names[0])
    assert difference(run(chosen, image), run(graph, image)) < 1e-6
