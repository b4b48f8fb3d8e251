"""list-conv: a dense convolution as a LIST module, which starts near it."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.list_conv import ListConv
from graphs import difference, kinds, network, refused, rewritten, run, site_names
from layers import FLAT, IMAGES, SIGNATURE, dense, middle


@pytest.mark.parametrize("bias", [True, False])
def test_list_conv_is_exact_for_what_it_can_hold(bias: bool) -> None:
    """Two directions of the inputs; the first outputs see centres only, the others one kernel for each direction."""
    random = np.random.default_rng(3)
    squeeze = np.linalg.qr(random.normal(size=(8, 2)))[0].T  # (2, 8)
    kernels = random.normal(size=(2, 3, 3))
    centre = np.zeros((3, 3))
    centre[1, 1] = 1
    # one direction only: then the factors are unique up to scale
    squeeze = squeeze[:1]
    first = random.normal(size=(3, 1, 1, 1)) * centre
    second = random.normal(size=(4, 1, 1, 1)) * kernels[0]
    weight = np.einsum("orkl,ri->oikl", np.concatenate([first, second]), squeeze)
    graph = dense(weight, outputs=7, bias=bias)
    chosen = rewritten(graph, ListConv(), IMAGES)
    assert kinds(chosen) == ["Conv", "Conv", "Conv", "Conv", "Concat"]
    shapes = sorted(node.inputs[1].values.shape for node in chosen.nodes if node.op == "Conv")
    assert shapes == [(2, 1, 3, 3), (2, 8, 1, 1), (3, 2, 1, 1), (4, 2, 1, 1)]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_list_conv_keeps_the_mean() -> None:
    graph = dense((6, 8, 3, 3))
    chosen = rewritten(graph, ListConv(), [FLAT])
    assert difference(middle(run(chosen, FLAT)), middle(run(graph, FLAT))) < 1e-5


def test_the_first_half_of_list_conv_is_the_least_squares_fit() -> None:
    """What it leaves over is not correlated with what it reads (all pixels are calibration samples)."""
    graph = dense((6, 8, 3, 3))
    chosen = rewritten(graph, ListConv(), IMAGES)
    squeeze = next(t.values for name, t in chosen.tensors().items() if name.endswith("squeeze"))[:, :, 0, 0]
    read = np.concatenate([(squeeze @ image[0].reshape(8, -1)).T for image in IMAGES])
    left = np.concatenate([(run(graph, i) - run(chosen, i))[0, :3].reshape(3, -1).T for i in IMAGES])
    correlation = np.corrcoef(read.T, left.T)[:2, 2:]
    assert np.abs(correlation).max() < 1e-5
    original = np.concatenate([run(graph, i)[0, :3].reshape(3, -1).T for i in IMAGES])
    assert np.abs(np.corrcoef(read.T, original.T)[:2, 2:]).max() > 0.1


def test_dense_square_convolutions_are_sites(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, ListConv()) == ["ending"]  # intro reads 3 channels
    assert site_names(dense((6, 8, 1, 1), "pads = [0, 0, 0, 0]"), ListConv()) == []


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (dense((6, 4, 3, 3), "pads = [1, 1, 1, 1], group = 2"), "expected a dense convolution, found 2 groups"),
        (
            network(f"{SIGNATURE.format(6, 10, 8)} {{ y = Conv(x, w) }}", {"w": (6, 8, 3, 3)}),
            "expected a convolution that keeps the size, found [12, 10] and [10, 8]",
        ),
        (dense((1, 8, 3, 3), outputs=1), "expected 4 inputs and 2 outputs or more, found 8 and 1"),
    ],
)
def test_list_conv_refuses(graph: gs.Graph, reason: str) -> None:
    assert set(refused(graph, ListConv())) == {reason}
