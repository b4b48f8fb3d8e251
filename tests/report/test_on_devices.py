"""Measurements of both networks, paired by where they were taken, and shown beside the estimates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from graphopt.cost.measured import Measured, Reading
from graphopt.report import view
from graphopt.report.data import ReportData, TargetRow, UnpricedRow
from graphopt.report.metrics import write_metrics
from graphopt.report.on_devices import DeviceRow, device_rows
from graphopt.report.page import write_page
from graphopt.report.summary import summary_table


def said(latency: float, day: str, device: str = "Maker One", threads: int | None = 4) -> Measured:
    reading = Reading(latency, latency, latency, "median", 30, device, "benchmark_model", threads=threads)
    return Measured("mine", "ab12", f"2026-11-{day}T10:00:00+00:00", "graphopt measure", reading)


def test_pairs_are_of_one_place() -> None:
    found = device_rows(
        [said(20.0, "01"), said(30.0, "02", threads=1)], [said(10.0, "05"), said(8.0, "03", "Maker Two")]
    )
    assert [(row.device, row.before.get("latency_ms"), row.after.get("latency_ms"), row.date) for row in found] == [
        ("Maker One", 20.0, 10.0, "2026-11-05"),
        ("Maker One", 30.0, None, "2026-11-02"),
        ("Maker Two", None, 8.0, "2026-11-03"),
    ]
    assert device_rows([], []) == []


def test_they_stand_beside_the_estimates(data: ReportData, tmp_path: Path) -> None:
    row: DeviceRow = device_rows([said(20.0, "01")], [said(10.0, "05")])[0]
    shown = replace(data, targets=[replace(data.targets[0], measured=[row]), *data.targets[1:]])
    write_page(shown, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "benchmark_model, 2026-11-05" in page
    assert "2.00\N{MULTIPLICATION SIGN} faster on Maker One" in page
    assert view.lede(shown).startswith("2.00\N{MULTIPLICATION SIGN} faster on Maker One (measured) · PSNR")
    write_metrics(shown, tmp_path / "metrics.json")
    targets = json.loads((tmp_path / "metrics.json").read_text())["targets"]
    assert [row["after"]["latency_ms"] for row in targets["adreno-750"]["measured"]] == [10.0]
    assert sum("measured" in row for row in targets.values()) == 1
    with (tmp_path / "table").open("w") as file:
        Console(file=file, width=140).print(summary_table(shown))
    table = (tmp_path / "table").read_text()
    measured, estimated = (next(i for i, line in enumerate(table.splitlines()) if words in line)
                           for words in ("on Maker One", "Adreno 750 (GPU): latency"))  # fmt: skip
    assert measured < estimated


def test_they_stand_where_there_is_no_price(data: ReportData, tmp_path: Path) -> None:
    """A phone that has no price on the machine of the run, after it has measured both networks."""
    rows = device_rows([said(20.0, "01")], [said(10.0, "05")])
    shown = replace(data, unpriced=[UnpricedRow("phone", "A phone's CPU", "it is another device", rows)])
    write_page(shown, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "A phone&#39;s CPU: built, without a price on the machine of this run: it is another device." in page
    assert page.count("2.00\N{MULTIPLICATION SIGN} faster on Maker One") == 1
    write_metrics(shown, tmp_path / "metrics.json")
    (phone,) = json.loads((tmp_path / "metrics.json").read_text())["unpriced"].values()
    assert [row["before"]["latency_ms"] for row in phone["measured"]] == [20.0]
    with (tmp_path / "table").open("w") as file:
        Console(file=file, width=140).print(summary_table(shown))
    assert "A phone's CPU: on Maker One" in (tmp_path / "table").read_text()


def test_an_estimate_gives_way_to_a_pair_alone(data: ReportData) -> None:
    alone, both = device_rows([said(20.0, "01")], []), device_rows([said(20.0, "01")], [said(10.0, "05")])
    estimated, measured = data.targets[0], replace(data.targets[1], weight=0.9)

    def headline(target: TargetRow) -> str:
        return view.lede(replace(data, targets=[target, data.targets[2]])).partition(" · ")[0]

    assert headline(replace(estimated, measured=alone)) == headline(estimated)
    assert headline(estimated) == "1.55x (1.41 to 1.72) as fast on Adreno 750 (GPU) (estimated)"
    assert headline(replace(estimated, measured=both)) == "2.00\N{MULTIPLICATION SIGN} faster on Maker One (measured)"
    assert headline(replace(measured, measured=both)) == "1.41x (1.39 to 1.43) as fast on Host CPU (measured)"
