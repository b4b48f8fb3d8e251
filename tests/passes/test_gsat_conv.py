"""gsat-conv: a dilated convolution in groups, with a channel shuffle."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.gsat_conv import GsatConv
from graphs import difference, kinds, refused, rewritten, run, site_names
from layers import FLAT, IMAGES, dense, middle

DILATED = "pads = [2, 2, 2, 2], dilations = [2, 2]"


def test_dilated_convolutions_are_sites() -> None:
    assert site_names(dense((8, 8, 3, 3), DILATED, 8), GsatConv(groups=4)) == ["dilated"]
    assert site_names(dense((8, 8, 3, 3), outputs=8), GsatConv(groups=4)) == []


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("groups", "outputs"), [(2, 6), (4, 8), (2, 8)])
def test_gsat_conv_is_exact_for_what_it_can_hold(groups: int, outputs: int, bias: bool) -> None:
    weight = np.random.default_rng(4).normal(size=(outputs, 8, 3, 3))
    for output in range(outputs):
        for i in range(8):
            weight[output, i] *= output % groups == i // (8 // groups)
    graph = dense(weight, DILATED, outputs, bias)
    chosen = rewritten(graph, GsatConv(groups=groups), IMAGES)
    assert kinds(chosen) == ["Conv", "Reshape", "Transpose", "Reshape", "Conv"]
    assert [node.attrs["group"] for node in chosen.nodes if node.op == "Conv"] == [groups, groups]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_gsat_conv_mixes_all_groups_and_keeps_the_mean() -> None:
    graph = dense((8, 8, 3, 3), DILATED, 8)
    chosen = rewritten(graph, GsatConv(groups=2), [FLAT])
    assert difference(middle(run(chosen, FLAT), 3), middle(run(graph, FLAT), 3)) < 1e-5
    mix = chosen.nodes[-1].inputs[1].values
    mix[:] = np.random.default_rng(5).normal(size=mix.shape)
    changed = IMAGES[0].copy()
    changed[:, 0] += 1  # one input reaches outputs of both groups of the 1x1
    reached = np.abs(run(chosen, changed) - run(chosen, IMAGES[0])).max(axis=(0, 2, 3)) > 1e-3
    assert reached[:4].any()
    assert reached[4:].any()


def test_gsat_conv_refuses() -> None:
    assert refused(dense((6, 8, 3, 3)), GsatConv()) == []  # not dilated
    reasons = refused(dense((6, 8, 3, 3), DILATED), GsatConv(groups=4))
    assert reasons == ["expected several channels in each of 4 groups, found 8 and 6 channels"]
    reasons = refused(dense((8, 8, 3, 3), DILATED, 8), GsatConv())
    assert reasons == ["expected several channels in each of 8 groups, found 8 and 8 channels"]
    assert refused(dense((6, 4, 3, 3), f"group = 2, {DILATED}"), GsatConv()) == [
        "expected a dense convolution, found 2 groups"
    ]
    with pytest.raises(ValueError, match="option 'groups' is 1; expected 2 or more"):
        GsatConv(groups=1)


def test_groups_that_are_none() -> None:
    with pytest.raises(ValueError, match="option 'groups' is 1; expected 2 or more"):
        GsatConv(groups=1)
