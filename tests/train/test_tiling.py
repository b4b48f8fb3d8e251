"""Tiles: where they lie, how they fade into one another, and that they leave no trace where a network is local."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.train.tiling import by_tiles, pad


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((3, height, width), dtype=np.float32)


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (37, 61), (5, 9), (17, 16)])
@pytest.mark.parametrize("overlap", [0, 4, 100])
def test_a_pointwise_network_sees_no_tiles(size: tuple[int, int], overlap: int) -> None:
    shapes = []

    def run(tile: np.ndarray) -> np.ndarray:
        shapes.append(tile.shape)
        return 2 * tile + 1

    picture = image(*size)
    np.testing.assert_allclose(by_tiles(run, picture, (16, 16), overlap), 2 * picture + 1, rtol=1e-6)
    assert set(shapes) == {(3, 16, 16)}


def test_neighbours_fade_into_one_another_over_their_overlap() -> None:
    """Two tiles of 8 columns over 12: they share 4, in which their weights are 4/4 to 1/4 and 1/4 to 4/4."""
    numbers = iter([0.0, 1.0])

    def run(tile: np.ndarray) -> np.ndarray:
        return np.full_like(tile, next(numbers))

    found = by_tiles(run, image(8, 12), (8, 8), overlap=4)
    second = np.array([1, 2, 3, 4]) / 4
    expected = [*[0] * 4, *(second / (second + second[::-1])), *[1] * 4]
    np.testing.assert_allclose(found, np.broadcast_to(np.float32(expected), (3, 8, 12)), rtol=1e-6)


def test_small_images_are_padded_with_zeros_to_one_tile() -> None:
    seen = []

    def run(tile: np.ndarray) -> np.ndarray:
        seen.append(tile.copy())
        return tile

    picture = image(5, 7)
    np.testing.assert_array_equal(by_tiles(run, picture, (8, 8)), picture)
    np.testing.assert_array_equal(seen, [pad(picture, 8, 8)])
    assert pad(picture, 8, 8)[:, 5:].sum() == pad(picture, 8, 8)[:, :, 7:].sum() == 0
    assert pad(picture, 5, 7) is picture


def test_each_tile_is_told() -> None:
    told: list[str] = []
    by_tiles(
        lambda image: image,
        np.zeros((3, 40, 24), np.float32),
        (24, 24),
        8,
        say=lambda share, words: told.append(f"{share:g} {words}"),
    )
    assert told == ["0 tile 1 of 2", "0.5 tile 2 of 2"]
