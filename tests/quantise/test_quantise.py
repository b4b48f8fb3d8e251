"""The function as a whole: the judge's choice among methods, and what is refused before the work."""

from __future__ import annotations

from itertools import count

import numpy as np
import onnx
import pytest
from graphs import onnx_model

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.ir.quantised import is_quantised
from graphopt.ir.session import OnnxSession
from graphopt.quantise.quantise import quantise

TEXT = "(float[1,3,64,64] x) => (float[1,3,64,64] y) { y = Conv<pads=[1,1,1,1]>(x, w) }"


def model() -> onnx.ModelProto:
    return canonical(onnx_model(TEXT, {"w": (3, 3, 3, 3)}), None, "model")


def images(number: int, outlier: float = 0) -> list[np.ndarray]:
    made = [np.random.default_rng(seed).random((1, 3, 64, 64), dtype=np.float32) for seed in range(number)]
    made[0][0, 0, 0, 0] = outlier or made[0][0, 0, 0, 0]
    return made


def closeness(made: onnx.ModelProto) -> float:
    """How near the network is to that in float, on images without outliers."""
    errors = [np.abs(OnnxSession(made).run(image) - OnnxSession(model()).run(image)).max() for image in images(2)]
    return -float(np.mean(errors))


def test_the_method_that_the_judge_gives_most_is_taken() -> None:
    marks = count(1)
    made = quantise(model(), images(9), lambda made: -abs(next(marks) - 3))
    assert (made.method, made.scores) == ("mse", {"min-max": -2, "percentile": -1, "mse": 0, "entropy": -1})
    assert is_quantised(made.model)
    assert (made.in_float, made.images, made.has_few) == ({}, 9, False)
    assert 0 == made.ranges["x"][0] < 0.9 < made.ranges["x"][1] <= 1  # the images' own, in [0, 1)


def test_an_outlier_in_calibration_is_not_followed() -> None:
    made = quantise(model(), images(8, outlier=100), closeness)
    assert made.method != "min-max"
    assert made.scores[made.method] > 0.5 * made.scores["min-max"]  # at most half of the error
    clean = quantise(model(), images(8), closeness)
    assert clean.scores["min-max"] > -0.05


def test_sixteen_bits_have_levels_too_many_for_entropy() -> None:
    assert list(quantise(model(), images(1), closeness, "w8a16", "qnn").scores) == ["min-max", "percentile", "mse"]


def test_few_images_are_told() -> None:
    assert quantise(model(), images(7), closeness).has_few


def test_what_is_refused() -> None:
    made = quantise(model(), images(1), closeness).model
    for given, shown, said in (
        (made, images(1), r"the network is quantised \(QDQ\), and quantising takes a network in float"),
        (model(), [], "no images to calibrate on"),
        (model(), [np.zeros((1, 3, 4, 8), np.float32)], r"shape \(1, 3, 64, 64\).*found one of \(1, 3, 4, 8\)"),
    ):
        with pytest.raises(GraphoptError, match=said):
            quantise(given, shown, closeness)
    with pytest.raises(GraphoptError, match="no kernels for w8a16"):
        quantise(model(), images(1), closeness, "w8a16", "cpu")
