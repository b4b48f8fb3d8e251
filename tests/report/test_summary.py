"""The table that closes a run in the terminal."""

from __future__ import annotations

import dataclasses
from io import StringIO

from rich.console import Console

from graphopt.report import formats
from graphopt.report.data import ReportData
from graphopt.report.summary import summary_table


def test_every_row(data: ReportData) -> None:
    console = Console(width=140, record=True, file=StringIO())
    console.print(summary_table(data))
    text = console.export_text().replace(formats.SPACE, " ").replace(formats.MINUS, "-")
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    rows = {figure: cells for figure, *cells in lines}
    chosen = {choice.site: next(row.name for row in choice.candidates if row.chosen) for choice in data.choices}
    counted = [c.site for c in data.choices if c.parent is None or chosen[c.parent] == "keep"]
    changed = sum(chosen[site] != "keep" for site in counted)
    assert rows["Adreno 750 (GPU): latency"] == ["21.44 ms", "13.87 ms", "-35.3 %", "estimated"]
    assert rows["Adreno 750 (GPU): peak memory"] == ["46.1 MiB", "29.8 MiB", "-35.4 %", "estimated"]
    assert rows["Adreno 750 (GPU): times as fast"] == ["", "", "1.55x (1.41 to 1.72)", "estimated"]
    assert rows["Host CPU: latency"] == ["312.5 ms", "221.3 ms", "-29.2 %", "measured"]
    assert rows["PSNR"] == ["31.42 dB", "31.30 dB", "-0.12 dB", "measured"]
    assert rows["SSIM"] == ["0.8821", "0.8793", "-0.0028", "measured"]
    own = "PSNR on 4 crops, in the float16 of Hexagon v75 (NPU)"
    assert rows[own] == ["31.42 dB", "31.29 dB", "-0.13 dB", "measured"]
    assert rows["MACs"] == ["16.25 G", "10.87 G", "-33.1 %", "counted"]
    assert rows["parameters"] == ["17.11 M", "11.60 M", "-32.2 %", "counted"]
    assert rows["sites changed"] == ["", f"{changed} of {len(counted)}", "", "searched"]
    assert len(rows) == 3 * 3 + 5 + 1


def test_networks_in_integers_have_rows_of_their_own(data: ReportData) -> None:
    scores = {**data.quality, "float": {"psnr": 31.4, "ssim": 0.88}, "cpu-w8a8": {"psnr": 31.2, "ssim": 0.87}}
    table = summary_table(dataclasses.replace(data, quality=scores))

    def change(decibels: float) -> str:
        return formats.number(decibels, 2, "dB", sign=True)

    rows = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert [row for row in rows if row[0].startswith("PSNR, ")] == [
        ("PSNR, float", *(formats.number(one, 2, "dB") for one in (31.418, 31.4)), change(-0.018), "measured"),
        ("PSNR, cpu-w8a8", *(formats.number(one, 2, "dB") for one in (31.418, 31.2)), change(-0.218), "measured"),
    ]
