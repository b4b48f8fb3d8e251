"""Shipped networks: found by name, at work on a photograph, and their weights alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from graphopt.models.shipped import SHIPPED, ShippedModel
from graphopt.models.source import find_model
from graphopt.train.data import read_image, to_planes
from graphopt.train.restorer import open_restorer

COFFEE = Path(__file__).parents[2] / "examples" / "images" / "test" / "coffee.png"


def test_a_shipped_network_is_found_by_name(tmp_path: Path) -> None:
    assert find_model("nafnet-width8-sigma25", tmp_path) == SHIPPED["nafnet-width8-sigma25"].path
    assert SHIPPED["nafnet-width8-sigma25"].path.is_file()


@pytest.mark.parametrize("model", SHIPPED.values(), ids=lambda model: model.name)
def test_a_shipped_network_denoises(model: ShippedModel) -> None:
    """A crop of an odd size out of a photograph, sigma 25: 20.2 dB before, 31.8 to 32.7 dB after."""
    clean = to_planes(read_image(COFFEE))[:, 200:275, 200:301]
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype(np.float32)
    restored = open_restorer(model.path)(noisy)
    assert restored.shape == clean.shape
    assert -10 * np.log10(np.square(restored - clean).mean()) > 31.5


@pytest.mark.parametrize("name", ["nafnet-width16-adreno750", "nafnet-width16-mali-g78"])
def test_small_networks_ship_their_weights_alone_too(name: str) -> None:
    path = SHIPPED[name].path
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    found = load_file(path.with_suffix(".safetensors"))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], value) for key, value in expected.items())
