"""Images through the artefact of a bundle: tiles leave no trace away from where they meet, and what does not fit is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import random_image, run
from rated import install_rated, local_network, rated_bundle

from graphopt.bundle.bundle import Bundle
from graphopt.bundle.restore import open_bundle
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.sizes import at_any_size, at_size

TILE, OVERLAP, REACH = 48, 16, 6
CLOSE = 2e-5  # of values up to 20


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_rated(tmp_path, monkeypatch)
    return tmp_path


def restored(bundle: Bundle, image: np.ndarray, **options: Any) -> np.ndarray:
    return open_bundle(bundle.folder, CostCache(bundle.folder.parent / "costs"), **options)(image)


def made(home: Path, free: bool, stride: int = 2) -> tuple[Bundle, onnx.ModelProto]:
    model = local_network(TILE, TILE)
    built = at_any_size(onnx.shape_inference.infer_shapes(model), 2) if free else model
    return rated_bundle(home, built, (TILE, TILE), OVERLAP, stride), model


@pytest.mark.parametrize("free", [False, True])
def test_tiles_leave_no_trace_away_from_where_they_meet(home: Path, free: bool) -> None:
    """Tiles start at 0, 32, 64: rows 32 to 48 and 64 to 80 belong to two of them, and only near the end of one of
    these does the other see the edge of its tile.
    """
    bundle, model = made(home, free)
    image = random_image(3, 112, 80)
    found = restored(bundle, image)
    expected = run(at_size(model, (112, 80)), image[None])[0]
    rows, columns = (np.array([not any(s <= i < s + OVERLAP for s in range(32, e - TILE + 1, 32)) for i in range(e)])
                     for e in (112, 80))  # fmt: skip
    assert (rows.sum(), columns.sum()) == (80, 64)
    off = np.abs(found - expected)
    assert off[:, rows][:, :, columns].max() < CLOSE
    assert off.max() > 1e-3  # where they meet, each saw the edge of its tile
    inner = list(range(32 + REACH, 32 + OVERLAP - REACH))
    assert off[:, inner][:, :, :32].max() < CLOSE  # but no further than its reach


def test_the_stride_is_kept_whatever_the_overlap(home: Path) -> None:
    """Tiles of 48 that share 15 would start at 33, where other pixels make a pair."""
    model = local_network(TILE, TILE)
    bundle = rated_bundle(home, model, (TILE, TILE), 15, 2)
    image = random_image(3, 80, 48)
    expected = run(at_size(model, (80, 48)), image[None])[0]
    off = np.abs(restored(bundle, image) - expected)
    assert off[:, :32].max() < CLOSE
    assert off[:, 48:].max() < CLOSE


@pytest.mark.parametrize("size", [(48, 48), (31, 40), (5, 7)])
def test_a_small_image_is_mirrored_to_what_runs(home: Path, size: tuple[int, int]) -> None:
    image = random_image(3, *size)
    fixed, model = made(home, free=False)
    mirrored = np.pad(image, [(0, 0), (0, TILE - size[0]), (0, TILE - size[1])], mode="symmetric")
    expected = run(model, mirrored[None])[0, :, : size[0], : size[1]]
    np.testing.assert_allclose(restored(fixed, image), expected, rtol=0, atol=CLOSE)
    free, _ = made(home, free=True)
    even = np.pad(image, [(0, 0), (0, size[0] % 2), (0, size[1] % 2)], mode="symmetric")
    expected = run(at_size(model, even.shape[1:]), even[None])[0, :, : size[0], : size[1]]
    np.testing.assert_allclose(restored(free, image), expected, rtol=0, atol=CLOSE)


def test_other_tiles_where_sizes_are_free(home: Path) -> None:
    bundle, model = made(home, free=True)
    image = random_image(3, 64, 60)
    expected = run(at_size(model, (64, 60)), image[None])[0]
    np.testing.assert_allclose(restored(bundle, image, tile=64), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("free", "options", "expected"),
    [
        (False, {"tile": 64}, "its artefact takes 48x48 (height x width) alone; leave out --tile"),
        (True, {"tile": 33}, "tiles of 33 pixels; its stride, 2, must divide them"),
        (True, {"channels": 4}, "expected one input of 4 channels, found 1 of 3"),
    ],
)
def test_what_does_not_fit_is_said(home: Path, free: bool, options: dict[str, Any], expected: str) -> None:
    bundle, _ = made(home, free)
    with pytest.raises(GraphoptError) as caught:
        restored(bundle, random_image(3, 8, 8), **options)
    assert str(caught.value) == f"{bundle.folder}: {expected}"


def test_a_network_that_changes_the_size(home: Path) -> None:
    bundle, _ = made(home, free=False)
    given = bundle.manifest.outputs[0]
    larger = given.model_copy(update={"shape": [1, 3, 96, 96]})
    changed = bundle.manifest.model_copy(update={"outputs": [larger]})
    (bundle.folder / "manifest.json").write_text(changed.model_dump_json(by_alias=True))
    with pytest.raises(GraphoptError, match="expected a network that keeps the shape of its image"):
        restored(bundle, random_image(3, 8, 8))


def test_an_artefact_of_another_device(home: Path) -> None:
    bundle, _ = made(home, free=False)
    phone = (Path(__file__).parents[2] / "targets" / "android-onnxruntime.yaml").read_text()
    (bundle.folder / "target.yaml").write_text(phone)
    changed = bundle.manifest.model_copy(update={"kind": "onnxruntime"})
    (bundle.folder / "manifest.json").write_text(changed.model_dump_json(by_alias=True))
    with pytest.raises(
        GraphoptError,
        match=r"its artefact does not run on this machine: A phone's CPU \(onnxruntime\) is another",
    ):
        restored(bundle, random_image(3, 8, 8))


def test_the_target_of_another_bundle(home: Path) -> None:
    bundle, _ = made(home, free=False)
    other = (Path(__file__).parents[2] / "targets" / "sm8650-adreno750.yaml").read_text()
    (bundle.folder / "target.yaml").write_text(other)
    with pytest.raises(GraphoptError) as caught:
        restored(bundle, random_image(3, 8, 8))
    where = bundle.folder / "target.yaml"
    assert str(caught.value) == (
        f"{where} is of kind 'opencl', and manifest.json of 'rated'; copy the whole folder of the bundle"
    )
