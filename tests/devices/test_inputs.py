"""The sizes that bundles are measured at."""

from __future__ import annotations

from manifests import MANIFEST

from graphopt.bundle.manifest import Manifest
from graphopt.devices.inputs import input_shapes, measured_size


def manifest_of(layout: str, shape: list[int | None]) -> Manifest:
    one = {"name": "image", "layout": layout, "shape": shape, "dtype": "float32", "range": [0.0, 1.0]}
    return Manifest(**{**MANIFEST, "inputs": [one], "tile": [64, 48]})


def test_a_size_of_its_own() -> None:
    manifest = manifest_of("NHWC", [1, 16, 24, 3])
    assert [shape for _, shape in input_shapes(manifest)] == [[1, 16, 24, 3]]
    assert measured_size(manifest) == (16, 24)


def test_a_free_size_is_that_of_the_tile() -> None:
    manifest = manifest_of("NCHW", [None, 3, None, None])
    assert [shape for _, shape in input_shapes(manifest)] == [[1, 3, 64, 48]]
    assert measured_size(manifest) == (64, 48)
