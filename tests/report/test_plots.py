"""Plots: the map of probabilities, and curves that stay small."""

from __future__ import annotations

import math
import re

import numpy as np
from PIL import Image

from graphopt.report.data import CandidateRow, ChoiceRow, HistoryPoint
from graphopt.report.palette import COLOURS, NEUTRAL, colours
from graphopt.report.plots import curve, probability_map


def test_probability_map_colours_the_leader_by_its_certainty() -> None:
    import base64
    import io

    names = ("keep", "a", "b")
    rows = [ChoiceRow(f"x.{i}/k", f"x.{i}", None, [CandidateRow(n, "tuned", False, 0, {}, 0) for n in names])
            for i in range(2)]  # fmt: skip
    points = [
        HistoryPoint(0, "warm-up", 1.0, 1.0, {}, 0.0, {"x.0/k": [1 / 3] * 3}),
        HistoryPoint(10, "search", 0.1, 1.0, {}, 0.0, {"x.0/k": [0.0, 1.0, 0.0], "x.1/k": [0.1, 0.1, 0.8]}),
    ]
    palette = colours(rows)
    assert palette == {"keep": NEUTRAL, "a": COLOURS[0], "b": COLOURS[1]}
    svg = probability_map("m", "label", rows, points, palette)
    content = re.search(r"base64,([^\"]+)", svg)
    assert content is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content[1]))).convert("RGBA"))
    assert pixels.shape == (2, 2, 4)
    assert pixels[0, 0].tolist() == [0x8A, 0x91, 0x9B, round(255 * 0.12)]
    assert pixels[0, 1].tolist() == [0x2F, 0x7E, 0xD8, 255]
    assert pixels[1, 0, 3] == 0  # not known yet
    assert pixels[1, 1].tolist() == [0xE0, 0x8A, 0x1E, round(255 * (0.12 + 0.88 * 0.7))]
    assert probability_map("m", "label", rows, [], palette) == ""


def test_curve_leaves_out_what_is_not_finite_and_stays_small() -> None:
    assert curve("c", "label", [0, 1], [math.nan, math.inf]) == ""
    assert "NaN" not in curve("c", "label", [0, 1, 2], [1.0, math.nan, 2.0])
    assert "<svg" in curve("c", "label", [7], [1.0], log=True)
    values = np.random.default_rng(0).normal(size=20_000).tolist()
    assert len(curve("c", "label", list(range(20_000)), values)) < 40_000
