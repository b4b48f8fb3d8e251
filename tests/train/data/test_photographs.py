"""What is kept in memory of photographs, and their digest."""

from __future__ import annotations

import numpy as np
from photographs import picture

from graphopt.train.data import Photograph  # fmt: skip
from graphopt.train.data.photographs import Shelf


def test_a_shelf_keeps_what_fits() -> None:
    reads: list[int] = []

    def photograph(key: int) -> Photograph:
        return Photograph("", (), lambda: (reads.append(key), (picture(4, 4, key), None))[1])

    shelf = Shelf(budget=2 * 4 * 4 * 3)
    for key in (0, 1, 2, 0, 1, 2):
        np.testing.assert_array_equal(shelf.read(key, photograph(key))[0], picture(4, 4, key))
    assert reads == [0, 1, 2, 2]
