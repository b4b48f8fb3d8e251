"""Figures as they are written."""

# ruff: noqa: RUF001
from __future__ import annotations

import math

import pytest

from graphopt.cost.ratio import Ratio
from graphopt.report import formats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formats.milliseconds(0.00234), "0.0023 ms"), (formats.milliseconds(0.5), "0.500 ms"),
        (formats.milliseconds(12.345), "12.35 ms"), (formats.milliseconds(-0.25, sign=True), "−0.250 ms"),
        (formats.milliseconds(1234.56), "1,234.6 ms"), (formats.milliseconds(0.0, sign=True), "0.00 ms"),
        (formats.number(-0.001, 2, "dB", sign=True), "0.00 dB"), (formats.number(None), "–"),
        (formats.memory(3 * 2**20), "3.0 MiB"), (formats.memory(512), "0.5 KiB"),
        (formats.short_count(63_300_000_000), "63.30 G"), (formats.short_count(12), "12"),
        (formats.seconds(59.0), "59.0 s"), (formats.seconds(3599.7), "1 h 00 min"),
        (formats.gain(Ratio(0.8, 0.7, 0.9, "estimated")), "0.80x (0.70 to 0.90) as fast"), (formats.gain(None), "–"),
        (formats.percent(formats.change(math.inf, 2)), "–"), (formats.speed(10, 5), "2.00× faster"), (formats.speed(10, 12.5), "1.25× slower"),
        (formats.speed(10, 10.001), "as fast as before"), (formats.speed(10, 0), "–"),
        (formats.percent(formats.change(0, 3)), "–"),
    ],
)  # fmt: skip
def test_formats(text: str, expected: str) -> None:
    assert text.replace(formats.SPACE, " ") == expected
