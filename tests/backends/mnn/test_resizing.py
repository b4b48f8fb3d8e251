"""A Resize as two matrix products, on the CPU of onnxruntime alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import difference, onnx_model, random_image, run

from graphopt.backends.mnn.resizing import is_misread, matrix


def resize(attributes: str, operand: str, *after: int, sizes: np.ndarray) -> onnx.ModelProto:
    text = f"(float[1,3,6,9] x) => (float[1,3,{after[0]},{after[1]}] y) {{ y = Resize<{attributes}>(x, {operand}) }}"
    return onnx_model(text, {"s": sizes})


CUBIC = 'mode="cubic", coordinate_transformation_mode="pytorch_half_pixel", cubic_coeff_a=-0.5'
UP = 'mode="nearest", coordinate_transformation_mode="align_corners", nearest_mode="round_prefer_ceil"'
SCALES, SIZES = np.array([1, 1, 1.5, 2], np.float32), np.array([1, 3, 5, 14])


@pytest.mark.parametrize("attributes", [CUBIC, UP])
@pytest.mark.parametrize("by_scale", [True, False])
def test_the_products_are_the_resize(attributes: str, by_scale: bool) -> None:
    height, width = (9, 18) if by_scale else (5, 14)
    model = resize(attributes, ", s" if by_scale else ", , s", height, width, sizes=SCALES if by_scale else SIZES)
    (node,), image = model.graph.node, random_image(1, 3, 6, 9)
    assert is_misread(node)
    rows = matrix(node, 6, height, 1.5 if by_scale else None)
    columns = matrix(node, 9, width, 2.0 if by_scale else None)
    assert difference(rows @ image @ columns.T, run(model, image)) < 1e-6


@pytest.mark.parametrize(
    "attributes",
    [
        'mode="linear"',
        'mode="nearest", nearest_mode="floor"',
        'mode="cubic", coordinate_transformation_mode="asymmetric"',
    ],
)
def test_what_mnn_reads_rightly(attributes: str) -> None:
    (node,) = resize(attributes, ", s", 9, 18, sizes=SCALES).graph.node
    assert not is_misread(node)
