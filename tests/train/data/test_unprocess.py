"""Noise of a camera: unprocessing, the mosaic, and Poisson-Gaussian noise on the sensor."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.config.data import EvaluationData
from graphopt.train.data import noise_of
from graphopt.train.data.unprocess import Camera, RawNoise, demosaic, mosaic


def keys(**changes: object) -> EvaluationData:
    return EvaluationData.model_validate({"test": ["photographs"], **changes})


def photograph(size: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] / 9
    return np.stack([0.5 + 0.35 * np.sin(rows + i) * np.cos(columns) for i in range(3)]).astype(np.float32)


def cameras(clean: np.ndarray, shot: float, read: float) -> list[Camera]:
    """Those that RawNoise draws for `clean`, in its order."""
    random, found = np.random.default_rng(0), []
    for image in clean:
        found.append(Camera.random(random))
        random.uniform(np.log(shot), np.log(shot))
        random.normal(0, 0.26)
        random.uniform(np.log(read), np.log(read))
        random.standard_normal(image.shape[1:], dtype=np.float32)
    return found


def test_processing_takes_unprocessing_back() -> None:
    image = 0.2 + 0.4 * photograph()  # nothing saturates
    for seed in range(5):
        camera = Camera.random(np.random.default_rng(seed))
        np.testing.assert_allclose(camera.to_camera.sum(1), 1)  # white stays white
        raw = camera.unprocess(image)
        assert 0 <= raw.min() < raw.max() < 0.6
        np.testing.assert_allclose(camera.process(raw), image, rtol=0, atol=2e-4)


def test_the_mosaic() -> None:
    colours = np.stack([np.full((6, 8), value, np.float32) for value in (0.1, 0.5, 0.9)])
    raw = mosaic(colours)
    np.testing.assert_allclose(raw[:2, :2], [[0.1, 0.5], [0.5, 0.9]], atol=1e-7)
    np.testing.assert_allclose(demosaic(raw), colours, atol=1e-6)  # at the borders too
    ramp = np.tile(np.arange(10, dtype=np.float32), (3, 9, 1))
    np.testing.assert_allclose(demosaic(mosaic(ramp))[:, 1:-1, 1:-1], ramp[:, 1:-1, 1:-1], atol=1e-5)


def test_raw_noise_is_poisson_gaussian_on_the_sensor() -> None:
    """Without tone curve and colours between, by the law var = shot * raw + read."""
    clean = np.stack([np.full((3, 64, 64), level, np.float32) for level in (0.25, 0.7)])
    shot, read = 4e-4, 1e-5
    noisy = RawNoise((shot, shot), (read, read))(clean, np.random.default_rng(0))
    for image, target, camera in zip(noisy, clean, cameras(clean, shot, read), strict=True):
        raw = camera.unprocess(target)
        green = camera.unprocess(image)[1, 0::2, 1::2]  # where the sensor is green, the mosaic leaves green alone
        expected = shot * raw[1, 0, 0] + read
        assert green.var() == pytest.approx(expected, rel=0.1)
        assert abs((image - target).mean()) < 0.02


def test_raw_noise_depends_on_the_signal_and_spreads_over_colours() -> None:
    clean = np.full((40, 3, 32, 32), 0.35, np.float32)
    noise = noise_of(keys(noise="raw"))
    assert noise == RawNoise()
    noisy = noise(clean, np.random.default_rng(1))
    assert noisy.shape == clean.shape
    assert noisy.dtype == np.float32
    difference = noisy - clean
    strengths = difference.std((1, 2, 3))
    assert strengths.max() > 3 * strengths.min()  # shot is drawn for each image
    red, green = difference[:, 0, :, :-1], difference[:, 1, :, :-1]
    assert abs(np.corrcoef(red.ravel(), difference[:, 0, :, 1:].ravel())[0, 1]) > 0.2  # the mosaic blurs it
    assert abs(np.corrcoef(red.ravel(), green.ravel())[0, 1]) > 0.02  # the colour matrix mixes it
    np.testing.assert_array_equal(noisy, noise(clean, np.random.default_rng(1)))
    odd = noise(clean[0, :, :31, :29], np.random.default_rng(1))
    assert odd.shape == (3, 31, 29)
    white = RawNoise((1e-12, 1e-12), (1e-12, 1e-12))(clean[:2], np.random.default_rng(1))
    np.testing.assert_allclose(white, clean[:2], rtol=0, atol=1e-4)  # no noise, no change: not the mosaic's blur


def test_the_range_of_read_noise_is_taken() -> None:
    clean = np.full((20, 3, 32, 32), 0.02, np.float32)
    low, high = (
        noise_of(keys(noise={"shot": [1e-6, 1e-6], "read": [read, read]}))(clean, np.random.default_rng(0)) - clean
        for read in (1e-8, 1e-4)
    )
    assert high.std() > 5 * low.std()
