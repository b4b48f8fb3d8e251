"""strided-norm: statistics of every n-th pixel."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.strided_norm import StridedNorm
from graphs import difference, refused, rewritten, run, site_names
from norms import EPSILON, READ_INSIDE, affine, norm, over_space, read_inside, scenes, spellings


@spellings
@pytest.mark.parametrize(("stride", "size"), [(2, (16, 12)), (4, (16, 12)), (3, (9, 12))])
def test_strided_norm(spelling: str, stride: int, size: tuple[int, int]) -> None:
    graph, images = norm(spelling, size=size), scenes(size=size)
    chosen = rewritten(graph, StridedNorm(stride=stride), images)
    x = images[0].astype(np.float64)
    small = x[:, :, ::stride, ::stride]
    mean = small.mean(axis=1, keepdims=True)
    deviation = np.sqrt(small.var(axis=1, keepdims=True) + EPSILON[spelling])
    mean, deviation = (t.repeat(stride, axis=2).repeat(stride, axis=3) for t in (mean, deviation))
    scale, shift = affine(graph)
    assert difference(run(chosen, images[0]), (x - mean) / deviation * scale + shift) < 1e-5
    assert difference(run(chosen, images[0]), run(graph, images[0])) > 1e-2
    flat = images[0][:, :, ::stride, ::stride].repeat(stride, axis=2).repeat(stride, axis=3)
    assert difference(run(chosen, flat), run(graph, flat)) < 1e-5  # exact where statistics do not change


def test_sites(nafnet_graph: gs.Graph) -> None:
    names = site_names(nafnet_graph, StridedNorm())
    assert names[:2] == ["encoders.0.0/norm1", "encoders.0.0/norm2"]
    assert len(names) == 6


def test_strided_norm_refuses_sizes_that_do_not_divide() -> None:
    reasons = refused(norm("decomposed", size=(16, 15)), StridedNorm())
    assert set(reasons) == {"expected a height and width that 2 divides, found 16x15"}
    with pytest.raises(ValueError, match="option 'stride' is 1; expected 2 or more"):
        StridedNorm(stride=1)


def test_norms_that_stay() -> None:
    assert set(refused(read_inside(), StridedNorm())) == READ_INSIDE
    assert site_names(over_space(), StridedNorm()) == []
