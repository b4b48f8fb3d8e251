"""PixelShuffle as DepthToSpace and as Reshape, Transpose, Reshape: passes of upsampling find both."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.depthwise_subpixel import DepthwiseSubpixel
from graphopt.passes.feature_align import FeatureAlign
from graphopt.passes.list_upsample import ListUpsample
from graphopt.passes.resize_upsample import ResizeUpsample
from graphopt.passes.transposed_upsample import TransposedUpsample
from graphs import difference, kinds, network, random_image, rewritten, run

from graphopt import GraphView, Pass
from graphopt.idioms import pixel_shuffle_upsample

PLAIN = """apart = Reshape(c, cells) moved = Transpose<perm = [0, 1, 4, 2, 5, 3]>(apart)
    y = Reshape(moved, pixels)"""
SHUFFLES = {"in one op": 'y = DepthToSpace<blocksize = 2, mode = "CRD">(c)', "in plain ops": PLAIN}
SHAPES = {"cells": np.array([1, 2, 2, 2, 8, 6]), "pixels": np.array([1, 2, 16, 12])}
WEIGHTS = {"w": (8, 4, 1, 1), "b": (8,)}
IMAGE = random_image(1, 4, 8, 6)


def upsampling(shuffle: str) -> str:
    return f"(float[1, 4, 8, 6] x) => (float[1, 2, 16, 12] y) {{ c = Conv(x, w, b) {shuffle} }}"


@pytest.mark.parametrize(
    "rule", [ResizeUpsample(), TransposedUpsample(), ListUpsample(), DepthwiseSubpixel()], ids=lambda r: r.name
)
@pytest.mark.parametrize("shuffle", SHUFFLES.values(), ids=SHUFFLES)
def test_every_pass_finds_the_shuffle(shuffle: str, rule: Pass) -> None:
    graph = network(upsampling(shuffle), {**SHAPES, **WEIGHTS})
    (site,) = rule.sites(GraphView(graph))
    assert len(site.nodes) == len(graph.nodes)
    after = rewritten(graph, rule, [IMAGE])
    assert "Transpose" not in kinds(after)
    if isinstance(rule, TransposedUpsample):
        assert difference(run(after, IMAGE), run(graph, IMAGE)) < 1e-5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[0, 1, 4, 2, 5, 3]", "[0, 1, 4, 3, 5, 2]"),  # rows and columns of each square swapped
        ("[0, 1, 4, 2, 5, 3]", "[0, 1, 2, 4, 3, 5]"),
        ("cells", "other_cells"),
        ("pixels", "other_pixels"),
    ],
)
def test_other_rearrangements_are_no_shuffle(old: str, new: str) -> None:
    text = upsampling(PLAIN.replace(old, new))
    others = {"other_cells": np.array([1, 2, 4, 1, 8, 6]), "other_pixels": np.array([1, 2, 12, 16])}
    graph = network(text.replace("[1, 2, 16, 12] y", "[1, 2, 12, 16] y" if "other_pixels" in text else "[1, 2, 16, 12] y"),
                    {**SHAPES, **WEIGHTS, **others})  # fmt: skip
    assert GraphView(graph).find(pixel_shuffle_upsample) == []


@pytest.mark.parametrize("shuffle", SHUFFLES.values(), ids=SHUFFLES)
def test_a_level_of_the_decoder_starts_after_the_shuffle(shuffle: str) -> None:
    text = f"""(float[1, 2, 16, 12] image) => (float[1, 2, 16, 12] z) {{
        x = Conv<kernel_shape = [2, 2], strides = [2, 2]>(image, down) c = Conv(x, w, b) {shuffle} z = Add(y, image) }}"""
    graph = network(text, {**SHAPES, **WEIGHTS, "down": (4, 2, 2, 2)})
    found = [[graph.nodes[-1].name == node for node in site.nodes] for site in FeatureAlign().sites(GraphView(graph))]
    assert found == [[False], [True]]
