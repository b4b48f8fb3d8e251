"""How parts of work say where the whole is."""

from __future__ import annotations

import pytest

from graphopt.progress import part_of


def test_a_part_says_where_the_whole_is() -> None:
    said: list[tuple[float, str]] = []
    part = part_of(lambda share, words: said.append((share, words)), 0.5, 0.75)
    part(0.0, "begins")
    part(1.0, "ends")
    assert said == [(pytest.approx(0.5), "begins"), (pytest.approx(0.75), "ends")]
