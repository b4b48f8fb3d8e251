"""Sizes that a pipeline asks for: what each backend builds from, and what does not fit is said with the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphs import difference, network, random_image, run

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.config.deploy import DeployConfig
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape, to_model
from graphopt.run.sizes import Sizes, size_of, sizes_of

FILE = Path("p.yaml")


def sizes(graph: gs.Graph, **deploy: Any) -> Sizes:
    return sizes_of(DeployConfig.model_validate(deploy), FILE, to_model(graph))


def image_at(size: tuple[int, int]) -> np.ndarray:
    return random_image(1, 3, *size)


def test_by_default_the_size_stays(nafnet_graph: gs.Graph) -> None:
    found = sizes(nafnet_graph)
    assert (size_of(found.fixed), found.free, found.stride) == ((16, 16), None, 2)
    assert size_of(sizes(nafnet_graph, resolution=(32, 48)).fixed) == (32, 48)


def test_a_runtime_without_free_sizes_gets_a_tile(nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    found = sizes(nafnet_graph, resolution="free", tile=32)
    phone = open_backend(load_target("sm8650-adreno750"), CostCache(tmp_path))
    assert found.of(phone) is found.fixed
    assert [image.shape for image, _ in found.tried(phone, image_at)] == [(1, 3, 32, 32)]
    assert found.free is not None
    assert input_shape(found.free)[2:] == (0, 0)


def test_a_free_artefact_is_tried_at_more_sizes(
    nafnet_graph: gs.Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sizes(nafnet_graph, resolution="free", tile=32)
    phone = open_backend(load_target("sm8650-adreno750"), CostCache(tmp_path))
    monkeypatch.setattr(type(phone), "any_size", True)
    assert found.of(phone) is found.free
    pairs = list(found.tried(phone, image_at))
    assert [image.shape[2:] for image, _ in pairs] == [(32, 32), (34, 36), (30, 34)]
    for image, expected in pairs:
        assert difference(run(found.free, image), expected) < 1e-6


@pytest.mark.parametrize(
    ("deploy", "expected"),
    [
        ({"resolution": (32, 31)}, "'deploy.resolution' is [32, 31]; the network's stride, 2, must divide both"),
        (
            {"resolution": "free", "tile": 51},
            "'deploy.tile' is 51; the network's stride, 2, must divide it: give 50 or 52",
        ),
    ],
)
def test_a_size_that_the_stride_does_not_divide(nafnet_graph: gs.Graph, deploy: Any, expected: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        sizes(nafnet_graph, **deploy)
    assert str(caught.value) == f"config p.yaml: {expected}"


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        ("free", r"'deploy\.resolution': the network runs at 16x16 alone: .*; give \[height, width\]"),
        ((32, 32), r"the network does not run at 32x32 .*; give the pipeline's `resolution` that size, too"),
    ],
)
def test_a_network_of_one_size(resolution: Any, expected: str) -> None:
    held = network("(float[1,3,16,16] x) => (float[1,3,16,16] y) { y = Add(x, c) }", {"c": (1, 3, 16, 16)})
    assert size_of(sizes(held).fixed) == (16, 16)
    with pytest.raises(GraphoptError, match=expected):
        sizes(held, resolution=resolution)
