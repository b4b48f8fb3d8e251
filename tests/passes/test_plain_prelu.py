"""plain-prelu: PRelu as two Relus, for every shape of slope."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.plain_prelu import PlainPRelu
from graphs import kinds, network, random_image, rewritten, run, site_names
from layers import dense


@pytest.mark.parametrize("shape", [(6, 1, 1), (1,), (1, 6, 1, 1), (6, 4, 5)])
def test_it_is_exact(shape: tuple[int, ...]) -> None:
    graph = network("(float[2,6,4,5] x) => (float[2,6,4,5] y) { y = PRelu(x, slope) }", {"slope": shape})
    image = random_image(2, 6, 4, 5)
    chosen = rewritten(graph, PlainPRelu(), [image])
    assert sorted(kinds(chosen)) == ["Mul", "Neg", "Relu", "Relu", "Sub"]
    np.testing.assert_array_equal(run(chosen, image), run(graph, image))


def test_nothing_else_is_a_site() -> None:
    assert site_names(dense((6, 8, 3, 3)), PlainPRelu()) == []
