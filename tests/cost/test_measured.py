"""Measurements: kept by target and graph, one for each place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from graphopt.cost.measured import Measured, Reading, keep_measured, measured_rows
from graphopt.errors import GraphoptError

READING = Reading(3.25, 3.0, 3.5, "median", 30, "a board", "onnxruntime 1.30", threads=2, units={"CPU": 1.0})
ROW = Measured("mine", "ab12", "2026-11-27T10:00:00+00:00", "graphopt measure", READING)


def test_rows_come_back_with_the_newest_last(tmp_path: Path) -> None:
    newer = replace(ROW, date="2026-11-28T10:00:00+00:00", reading=replace(READING, device="another board"))
    for row in (newer, ROW):
        keep_measured(tmp_path, row)
    assert measured_rows(tmp_path, "mine", "ab12") == [ROW, newer]
    assert measured_rows(tmp_path, "mine", "cd34") == []
    assert measured_rows(tmp_path, "other", "ab12") == []


def test_the_same_place_holds_one(tmp_path: Path) -> None:
    again = replace(ROW, date="2026-11-28T10:00:00+00:00", reading=replace(READING, latency_ms=3.2))
    more = replace(ROW, reading=replace(READING, threads=4))
    for row in (ROW, more, again):
        keep_measured(tmp_path, row)
    assert measured_rows(tmp_path, "mine", "ab12") == [more, again]


def test_a_file_of_something_else(tmp_path: Path) -> None:
    keep_measured(tmp_path, ROW)
    next((tmp_path / "measured").rglob("*.json")).write_text("[1]")
    with pytest.raises(GraphoptError, match=r"ab12\.json holds no measurements of this version; move it away"):
        measured_rows(tmp_path, "mine", "ab12")


def test_in_words() -> None:
    assert str(ROW) == "3.250 ms (measured, median of 30 runs, 3 to 3.5 ms; a board; onnxruntime 1.30; 2026-11-27)"
    whole = replace(ROW, reading=replace(READING, statistic="mean", bounds="range"))
    assert str(whole).startswith("3.250 ms (measured, mean of 30 runs, 3 to 3.5 ms at all; ")


def test_flat_with_its_provenance() -> None:
    flat = ROW.to_dict()
    assert (flat["target"], flat["provenance"], flat["latency_ms"], flat["units"]) == (
        "mine",
        "measured",
        3.25,
        {"CPU": 1.0},
    )
    assert (flat["graph"], flat["date"]) == ("ab12", "2026-11-27T10:00:00+00:00")
