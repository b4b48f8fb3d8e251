"""All networks that graphopt knows, in small, through MNN: minutes, so with `-m slow`."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import difference, onnx_model, random_image, run
from mnn import mnn_backend, needs_mnn
from norm_spellings import OTHER_NORMS, SPELLINGS
from small_networks import SMALL, small

from graphopt.ir.canonical import canonical, input_shape
from graphopt.models.source import export_network

NOT_CARRIED = {  # and the first node that MNN gets wrong
    "group norm": "GroupNormalization",
    "square of another mean": "Sqrt",
}


@needs_mnn
@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 48), (40, 56)])
@pytest.mark.parametrize("name", SMALL)
def test_a_published_network(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    model = canonical(export_network(small(name), size), None, name)
    backend, image = mnn_backend(tmp_path), random_image(*input_shape(model))
    assert difference(backend.run(backend.build(model, tmp_path), [image])[0], run(model, image)) < 1e-4


@needs_mnn
@pytest.mark.slow
@pytest.mark.parametrize("name", [*SPELLINGS, *OTHER_NORMS])
def test_a_spelling_of_a_norm(name: str, tmp_path: Path) -> None:
    spelling = {**SPELLINGS, **OTHER_NORMS}[name]
    model = canonical(onnx_model(spelling.text, spelling.weights, opset=spelling.opset), None, name)
    artefact = mnn_backend(tmp_path).build(model, tmp_path)
    assert bool(artefact.files) == (name not in NOT_CARRIED), artefact.refusal
    assert f"from {NOT_CARRIED.get(name, '')}" in (artefact.refusal or "from ")
