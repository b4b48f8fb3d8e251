"""Shipped networks: found by name, at work on a photograph, and their weights alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Call, nafnet, random_image
from safetensors.numpy import load_file

from graphopt.ir.canonical import to_model
from graphopt.ir.quantised import is_quantised
from graphopt.models import shipped
from graphopt.models.shipped import SHIPPED, ShippedModel
from graphopt.models.source import find_model
from graphopt.quantise.quantise import quantise
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


@pytest.mark.parametrize("model", SHIPPED.values(), ids=lambda model: model.name)
def test_the_precision_is_that_of_the_file(model: ShippedModel) -> None:
    quantised = model.suffix == ".onnx" and is_quantised(onnx.load(model.path))
    assert quantised == (model.precision != "fp32")
    assert model.name.endswith(f"-{model.precision}") == quantised


def test_a_quantised_network_ships_by_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "shipped.py"))
    model = ShippedModel("tiny-w8a8", "a small one", (10, 55), ".onnx", precision="w8a8")
    monkeypatch.setitem(SHIPPED, model.name, model)
    images = [random_image(1, 3, 16, 16, seed=seed) for seed in range(2)]
    onnx.save(quantise(to_model(nafnet()), images, lambda graph: 0.0).model, tmp_path / "tiny_w8a8.onnx")
    assert model.weights == "pretrained, sigma 10 to 55, w8a8"
    rows = {row["name"]: row for row in json.loads(call("models", "list", "--json")[1])}
    assert (rows["tiny-w8a8"]["precision"], rows["tiny-w8a8"]["weights"]) == ("w8a8", model.weights)
    assert open_restorer(find_model("tiny-w8a8", tmp_path))(images[0][0]).shape == (3, 16, 16)
    status, _, said = call("explain", "tiny-w8a8", "--pass", "fold-affine")
    assert status == 1
    assert "is quantised (QDQ)" in said


@pytest.mark.parametrize("name", ["nafnet-width16-adreno750", "nafnet-width16-mali-g78"])
def test_small_networks_ship_their_weights_alone_too(name: str) -> None:
    path = SHIPPED[name].path
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    found = load_file(path.with_suffix(".safetensors"))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], value) for key, value in expected.items())
