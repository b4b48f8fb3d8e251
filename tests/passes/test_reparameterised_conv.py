"""reparameterised-conv: even shares at the start, one kernel at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from graphopt.passes.reparameterised_conv import ReparameterisedConv
from graphs import difference, kinds, network, refused, run, site_names, space_of
from layers import IMAGES, X_TO_Y, dense, down

from graphopt.ir.training_forms import training_graph
from graphopt.nn.training_module import TrainingModule, collapse

RULE = ReparameterisedConv()


def training(graph: gs.Graph, rule: ReparameterisedConv = RULE) -> TrainingModule:
    return TrainingModule(training_graph(graph, space_of(graph, [], IMAGES), {}, [rule]))


def weights_of(module: TrainingModule) -> dict[str, np.ndarray]:
    """By role: main, row_scale, ..."""
    return {n.split("/")[-1]: p.detach().double().numpy() for n, p in module.named_initialisers().items()}


def test_every_tap_is_shared_out_evenly() -> None:
    graph = dense((8, 8, 3, 3), outputs=8)
    module = training(graph)
    weight, found = graph.tensors()["w"].values, weights_of(module)
    shares = np.float64([[1, 2, 1], [2, 4, 2], [1, 2, 1]])  # main, row, column and point
    covered = np.broadcast_to(shares, weight.shape).copy()
    covered[range(8), range(8), 1, 1] = 5  # and identity
    np.testing.assert_allclose(found["main"], weight / covered, rtol=1e-6)
    np.testing.assert_allclose(found["row"], (weight / covered)[:, :, 1:2], rtol=1e-6)
    np.testing.assert_allclose(found["column"], (weight / covered)[:, :, :, 1:2], rtol=1e-6)
    np.testing.assert_allclose(found["point"], (weight / covered)[:, :, 1:2, 1:2], rtol=1e-6)
    diagonal = weight[range(8), range(8), 1, 1] / 5
    np.testing.assert_allclose(found["identity_scale"].ravel(), diagonal, rtol=1e-6)
    for name in ("main", "row", "column", "point"):
        np.testing.assert_array_equal(found[f"{name}_scale"], np.ones((8, 1, 1, 1)))
    with torch.no_grad():
        assert difference(module(torch.from_numpy(IMAGES[0])).numpy(), run(graph, IMAGES[0])) < 1e-6


def test_random_branches_of_grouped_kernels_collapse_into_one() -> None:
    graph = dense((8, 4, 3, 3), "pads = [1, 1, 1, 1], group = 2", outputs=8)
    module = training(graph)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.named_initialisers().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found = weights_of(module)
    expected = found["main_scale"] * found["main"]
    expected[:, :, 1:2, 1:2] += found["point_scale"] * found["point"]
    expected[:, :, 1:2, :] += found["row_scale"] * found["row"]
    expected[:, :, :, 1:2] += found["column_scale"] * found["column"]
    expected[range(8), [0, 1, 2, 3] * 2, 1, 1] += found["identity_scale"].ravel()
    collapse(module, graph, torch.from_numpy(IMAGES[0]))
    assert kinds(graph) == ["Conv"]
    np.testing.assert_allclose(graph.tensors()["w"].values, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("branches", "shape", "expected"),
    [
        (("row", "column"), (8, 8, 3, 3), {"row", "column"}),
        (("point", "row", "column", "identity"), (8, 8, 1, 3), {"point", "identity"}),  # it is a row itself
        (("point", "row", "column", "identity"), (6, 8, 3, 3), {"point", "row", "column"}),  # 8 -> 6 channels
    ],
)
def test_branches_that_are_asked_for_and_have_room(
    branches: tuple[Any, ...], shape: tuple[int, ...], expected: set[str]
) -> None:
    pads = [(shape[2] - 1) // 2, (shape[3] - 1) // 2] * 2
    module = training(dense(shape, f"pads = {pads}", outputs=shape[0]), ReparameterisedConv(branches=branches))
    scales = {name.removesuffix("_scale") for name in weights_of(module) if name.endswith("_scale")}
    assert scales == {"main", *expected}


def test_sites(nafnet_graph: gs.Graph) -> None:
    convs = [
        f"{block}/{conv}"
        for block in ("encoders.0.0", "middle_blks.0", "decoders.0.0")
        for conv in ("conv2", "conv3", "conv5", "sca.1")
    ]
    assert sorted(site_names(nafnet_graph, RULE)) == sorted(["intro", "ending", *convs])


def test_kernels_without_a_middle_and_weights_that_are_shared_are_refused() -> None:
    assert refused(down(2, ""), RULE) == ["expected a kernel with a middle, found 2x2"]
    twice = network(f"{X_TO_Y} {{ a = Conv(x, w) y = Conv(a, w) }}", {"w": (8, 8, 1, 1)})
    assert set(refused(twice, RULE)) == {"its weights are used elsewhere too, and would train apart"}
    reasons = refused(dense((6, 8, 3, 3)), ReparameterisedConv(branches=("identity",)))
    assert reasons == ["none of the branches identity differs from its kernel"]


@pytest.mark.parametrize(("branches", "found"), [((), "none"), (("row", "row"), "row, row")])
def test_branches_that_are_none(branches: tuple[Any, ...], found: str) -> None:
    with pytest.raises(ValueError, match=f"option 'branches' names {found}; expected at least one, each once"):
        ReparameterisedConv(branches=branches)
