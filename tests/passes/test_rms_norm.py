"""rms-norm: the least-squares fit of a norm without the mean."""

from __future__ import annotations

import numpy as np
from graphopt.passes.rms_norm import RmsNorm
from graphs import difference, kinds, refused, rewritten, run, site_names
from norms import EPSILON, READ_INSIDE, SCENES, by_channel, norm, over_space, read_inside, spellings


@spellings
def test_it_is_the_least_squares_fit(spelling: str) -> None:
    graph = norm(spelling)
    assert site_names(graph, RmsNorm()) == ["block.0/norm1"]
    chosen = rewritten(graph, RmsNorm(), SCENES)
    assert kinds(chosen) == ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]

    def normal(image: np.ndarray) -> np.ndarray:
        power = np.square(image.astype(np.float64)).mean(axis=1, keepdims=True)
        return image / np.sqrt(power + EPSILON[spelling])

    z = by_channel([normal(image) for image in SCENES])
    y = by_channel([run(graph, image) for image in SCENES])
    lines = [np.polyfit(z[:, c], y[:, c], 1) for c in range(4)]
    expected = [a * normal(SCENES[1])[0, c] + b for c, (a, b) in enumerate(lines)]
    assert difference(run(chosen, SCENES[1]), np.stack(expected)[None]) < 2e-5


@spellings
def test_it_is_exact_where_channels_have_no_mean(spelling: str) -> None:
    images = [image - image.mean(axis=1, keepdims=True) for image in SCENES]
    graph = norm(spelling)
    assert difference(run(rewritten(graph, RmsNorm(), images), images[0]), run(graph, images[0])) < 1e-5


def test_norms_that_stay() -> None:
    assert set(refused(read_inside(), RmsNorm())) == READ_INSIDE
    assert site_names(over_space(), RmsNorm()) == []
