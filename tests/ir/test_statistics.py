"""What calibration images say of tensors: samples, and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import network, random_image

from graphopt import GraphoptError
from graphopt.ir.sites import Site
from graphopt.ir.statistics import POSITIONS, SiteStatistics, Statistics, collect


def test_statistics_against_numpy(images: list[np.ndarray]) -> None:
    text = "(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) { y = Sigmoid(x) }"
    site = Site("s", ("sigmoid",), {"x": "x"}, {"output": "y"})
    found = SiteStatistics(collect(network(text), [site], images), site)
    x = np.concatenate([image.reshape(3, -1).T for image in images]).astype(np.float64)
    y = 1 / (1 + np.exp(-x))
    assert found.samples("x").shape == (3 * 256, 3)
    np.testing.assert_allclose(found.mean("output"), y.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.variance("x"), x.var(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.quantiles("x", 0.1, 0.8), np.quantile(x, [0.1, 0.8]), rtol=1e-5)
    scale, shift = found.affine_fit("x", "output")
    for channel in range(3):
        expected = np.polyfit(x[:, channel], y[:, channel], 1)
        np.testing.assert_allclose([scale[channel], shift[channel]], expected, rtol=1e-4)


def test_a_fit_of_what_was_computed_from_samples() -> None:
    site, random = Site("s", ("n",), {"x": "x"}, {"output": "y"}), np.random.default_rng(0)
    x = random.normal(size=(64, 2)).astype(np.float32)
    found = SiteStatistics(Statistics({"x": x, "y": 3 * x**2 - 1}), site)
    scale, shift = found.affine_fit(found.samples("x") ** 2, "output")
    np.testing.assert_allclose([scale, shift], [[3, 3], [-1, -1]], rtol=1e-5)


def test_samples_of_large_tensors_are_paired() -> None:
    text = "(float[2, 3, 64, 64] x) => (float[2, 3, 64, 64] y) { y = Neg(x) }"
    site = Site("s", ("neg",), {"x": "x"}, {"output": "y"})
    statistics = collect(network(text), [site], [random_image(2, 3, 64, 64)])
    assert statistics.of("x").shape == (POSITIONS, 3)
    np.testing.assert_array_equal(statistics.of("x"), -statistics.of("y"))


def test_channels_of_a_batch_are_not_mixed() -> None:
    image = np.zeros((2, 3, 4, 4), np.float32) + np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    text = "(float[2, 3, 4, 4] x) => (float[2, 3, 4, 4] y) { y = Neg(x) }"
    site = Site("s", ("neg",), {"x": "x"}, {"output": "y"})
    np.testing.assert_array_equal(collect(network(text), [site], [image]).of("y").var(axis=0), np.zeros(3))


def test_a_constant_input_fits_with_scale_zero() -> None:
    site = Site("s", ("n",), {"x": "x"}, {"output": "y"})
    flat = Statistics({"x": np.full((8, 1), 3, np.float32), "y": np.arange(8, dtype=np.float32)[:, None]})
    scale, shift = SiteStatistics(flat, site).affine_fit("x", "output")
    assert (scale.item(), shift.item()) == (0.0, 3.5)


def test_images_of_another_size(images: list[np.ndarray]) -> None:
    text = "(float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Neg(x) }"
    site = Site("s", ("neg",), {"x": "x"}, {"output": "y"})
    with pytest.raises(GraphoptError, match="onnxruntime cannot run the graph: .*nvalid dimensions"):
        collect(network(text), [site], images)
