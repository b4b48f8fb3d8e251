"""affine-norm: the least-squares fit, and how the norm fades out."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from graphopt.passes.affine_norm import AffineNorm
from graphs import difference, kinds, refused, rewritten, run, site_names, space_of
from norms import EPSILON, READ_INSIDE, SCENES, affine, by_channel, norm, over_space, read_inside, spellings

from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.training_forms import training_graph
from graphopt.nn.training_module import TrainingModule


@spellings
def test_the_affine_is_the_least_squares_fit(spelling: str) -> None:
    graph = norm(spelling)
    space = space_of(graph, [AffineNorm()], SCENES)
    assert {name: choice.options for name, choice in space.choices.items()} == {
        "block.0/norm1": ("keep", "affine-norm")
    }
    chosen = apply_selection(space, {"block.0/norm1": "affine-norm"})
    assert kinds(chosen) == ["Mul", "Add"]
    assert [node.name for node in chosen.nodes] == ["block.0/norm1@affine-norm/mul", "block.0/norm1@affine-norm/add"]
    # independently: y = LN(x) in float64, then a line through each channel's points
    scale, shift = (values.ravel() for values in affine(graph))
    x = by_channel(SCENES).astype(np.float64)
    deviation = np.sqrt(x.var(axis=1, keepdims=True) + EPSILON[spelling])
    normed = (x - x.mean(axis=1, keepdims=True)) / deviation * scale + shift
    lines = [np.polyfit(x[:, channel], normed[:, channel], 1) for channel in range(4)]
    expected = np.stack([line[0] * SCENES[0][0, c] + line[1] for c, line in enumerate(lines)])[None]
    assert difference(run(chosen, SCENES[0]), expected) < 2e-5


def test_it_is_exact_where_the_norm_is_affine() -> None:
    """Pixels with the same mean and variance over channels: the norm is one affine map of each channel."""
    random = np.random.default_rng(2)
    images = []
    for _ in range(3):
        order = np.argsort(random.random((16 * 16, 4)), axis=1)
        pixels = np.array([-1.0, 0.5, 2.0, 3.0])[order]
        images.append(np.moveaxis(pixels.reshape(1, 16, 16, 4), -1, 1).astype(np.float32))
    graph = norm("decomposed")
    assert difference(run(rewritten(graph, AffineNorm(), images), images[1]), run(graph, images[1])) < 1e-5


def test_every_norm_of_a_network_is_a_site(nafnet_graph: gs.Graph) -> None:
    blocks = ("encoders.0.0", "middle_blks.0", "decoders.0.0")
    assert site_names(nafnet_graph, AffineNorm()) == [f"{block}/norm{n}" for block in blocks for n in (1, 2)]


def test_norms_that_stay() -> None:
    assert set(refused(read_inside(), AffineNorm())) == READ_INSIDE
    assert site_names(over_space(), AffineNorm()) == []


@pytest.mark.parametrize(("blend", "share_of_norm"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.75)])
def test_blend_is_the_share_of_the_training_over_which_the_norm_fades_out(blend: float, share_of_norm: float) -> None:
    rule, graph, selection = AffineNorm(blend=blend), norm("decomposed"), {"block.0/norm1": "affine-norm"}
    space = space_of(graph, [rule], SCENES)
    deployed = to_graph(to_model(apply_selection(space, selection)))
    module = TrainingModule(training_graph(deployed, space, selection, [rule]))
    module.advance(0.25)
    with torch.no_grad():
        found = module(torch.from_numpy(SCENES[0])).numpy()
    expected = share_of_norm * run(graph, SCENES[0]) + (1 - share_of_norm) * run(deployed, SCENES[0])
    assert difference(found, expected) < 2e-6


@pytest.mark.parametrize("blend", [-0.1, 1.5])
def test_blends_that_are_none(blend: float) -> None:
    with pytest.raises(ValueError, match=f"option 'blend' is {blend}; expected a number from 0 to 1"):
        AffineNorm(blend=blend)
