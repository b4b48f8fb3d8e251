"""The page: it stands alone, shows every figure, and no nonsense where something is missing."""

# ruff: noqa: RUF001
from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

from rich.console import Console
from sample_report import Page, empty, price

from graphopt.cost.ratio import Ratio
from graphopt.report import formats, plots, view
from graphopt.report.data import (
    CandidateRow,
    ChoiceRow,
    CropRow,
    FrontPoint,
    HistoryPoint,
    RefusalRow,
    ReportData,
    TargetRow,
    TunePoint,
)
from graphopt.report.metrics import metrics
from graphopt.report.page import write_page
from graphopt.report.summary import summary_table


def test_page_stands_alone(page: Page) -> None:
    assert "http:" not in page.raw
    assert "https:" not in page.raw
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "@import" not in page.raw
    for _, name, value in page.attributes:
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith(("data:image/png;base64,", "#")), value
    assert not re.search(r"url\((?!#)", page.raw)


def test_ids_are_unique_and_every_reference_has_its_target(page: Page) -> None:
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value[1:] for _, name, value in page.attributes if name in {"href", "xlink:href"} and value[0] == "#"]
    links += re.findall(r"url\(#([^)]+)\)", page.raw)
    assert len(links) > 100
    assert set(links) <= set(ids)


def test_every_figure_of_the_metrics_is_on_the_page(data: ReportData, page: Page) -> None:
    figures = metrics(data)
    for target in figures["targets"].values():
        assert str(Ratio.from_dict(target["gain"])) in page.text
        for when in ("before", "after"):
            for key in ("latency_ms", "low_ms", "high_ms"):
                assert formats.milliseconds(target[when][key]).replace(formats.SPACE, " ") in page.text
            assert target[when]["provenance"] in page.text
            assert formats.memory(target[when]["peak_memory_bytes"]).replace(formats.SPACE, " ") in page.text
    for words in ("deploy/npu/npu.onnx", "an emulator, in float16", "3.1e-03", "31.421 dB", "31.287 dB", "−0.014 dB",
                  "no artefact: its compiler refuses Celu", "4 crops of 64x64", "w8a8 31.071 dB 31.083 dB +0.012 dB",
                  "4.26 ms", "the NPU refuses Erf", "fp16 deployed"):  # fmt: skip
        assert words in page.text, words
    for words in ("31.42 dB", "31.30 dB", "20.17 dB", "0.8821", "0.8793", "17,111,907", "11,604,355", "16,254,976,000",
                  "10,871,635,968", "3.2 s", "41.7 s", "21 min 52 s", "1 h 30 min", "3 h 25 min",
                  "1 min 05 s"):  # fmt: skip
        assert words in page.text, words
    tables = page.raw.split('id="candidates"')[1].split('id="search"')[0]
    assert re.findall(r"<code>([^<]+)</code>", tables)[1:] == list(figures["choices"])  # the first is `keep`


def test_front_has_a_plot_for_each_target_and_a_row_for_each_network(data: ReportData, page: Page) -> None:
    section = page.raw[page.raw.index('<section id="front">') :]
    section = section[: section.index("</section>")]
    assert section.count("<svg") == 3
    assert section.count("<tr") == 1 + 4
    assert all(text in section for text in ("entropy", "milp", "30.50", "96"))
    alone = plots.front("f", "label", [FrontPoint("a", 0.5, True, math.nan, {"t": 1.0}, 0, 1)], "t", {"a": "#112233"})
    assert alone == ""
    nowhere = plots.front("f", "label", data.front, "unknown", dict.fromkeys(("entropy", "milp"), "#112233"))
    assert nowhere == ""


def test_headline_says_what_was_gained_and_on_what_evidence(data: ReportData, page: Page) -> None:
    text = page.text
    assert (
        "1.55x (1.41 to 1.72) as fast on Adreno 750 (GPU) (estimated) · PSNR −0.12 dB · MACs −33.1 % · parameters −32.2 %"
        in text
    )
    assert "−0.39 %" in text  # PSNR, relative
    assert "14.02 ms (+1.1 %)" in text  # sum of parts against the whole
    assert view.lede(empty()) == ""


def test_page_is_the_same_for_the_same_data(data: ReportData, page: Page, tmp_path: Path) -> None:
    write_page(data, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page.raw


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&$x^2$'
    choice = ChoiceRow(f"{evil}/norm", evil, None, [CandidateRow("keep", "exact", True, 0.5, {evil: 0.0}, 1),
                                                    CandidateRow(evil, evil, False, 0.5, {evil: 1.0}, 1)])  # fmt: skip
    data = ReportData(
        title=evil, quality={}, parameters={}, macs={}, exact=[evil], tuning=[TunePoint(0, 1.0, 1.0)],
        targets=[TargetRow(evil, evil, 1.0, price(2, 1, 3, evil, 4), price(1, 1, 1, evil, 4), 1.0, evil)],
        choices=[choice], refusals=[RefusalRow(evil, evil, evil)],
        history=[HistoryPoint(0, "search", 0.5, 1.0, {evil: 2.0}, 0.1, {choice.site: [0.5, 0.5]})],
        crops=[CropRow(evil, *[tmp_path / "missing.png"] * 3, psnr={})], seconds={evil: 1.0}, command=evil,
        config_text=evil, latency_goal=evil, files=[evil],
    )  # fmt: skip
    write_page(data, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "script" not in page.tags
    assert "<script" not in page.raw
    assert page.text.count(evil) > 15
    assert evil in page.text.split("Probabilities")[-1]  # the labels of the plots, not set as mathematics
    Console(width=200, file=(tmp_path / "out").open("w")).print(summary_table(data))


def test_one_network_is_no_front(data: ReportData, tmp_path: Path) -> None:
    write_page(dataclasses.replace(data, front=data.front[:1]), tmp_path / "page.html")
    assert 'id="front"' not in (tmp_path / "page.html").read_text()


def test_empty_report_shows_no_nonsense(tmp_path: Path) -> None:
    write_page(empty(), tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "No target was priced" in page.text
    assert "no pass proposed a candidate" in page.text
    for heading in ("Crops", "Fine-tuning", "The search over time", "Why sites were refused", "The run"):
        assert heading not in page.text
    assert "svg" not in page.tags
    for word in ("nan", "inf", "None", "undefined"):
        assert not re.search(rf"\b{word}\b", page.text)
    assert metrics(empty())["targets"] == {}


def test_figures_that_are_not_finite_become_dashes(data: ReportData, tmp_path: Path) -> None:
    bad = price(math.nan, math.inf, -math.inf, "measured", 0)
    history = [HistoryPoint(step, "search", math.nan, math.inf, {"t": math.nan}, -math.inf,
                            {row.site: [math.nan] * len(row.candidates) for row in data.choices})
               for step in range(3)]  # fmt: skip
    candidates = [CandidateRow("keep", "exact", True, math.nan, {"t": math.nan}, 0)]
    broken = dataclasses.replace(
        data, targets=[TargetRow("t", "T", math.nan, bad, bad, math.inf)], history=history, seconds={"cost": math.nan},
        quality={"before": {"psnr": math.inf, "ssim": math.nan}}, tuning=[TunePoint(0, math.nan, math.inf)],
        choices=[ChoiceRow("a/b", "a", None, candidates), *data.choices], parameters={"before": 0, "after": 0},
    )  # fmt: skip
    write_page(broken, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert not re.search(r"\b(nan|inf|infinity|None)\b", page.text, re.IGNORECASE)
    assert not re.search(r"(width|left): *-?(nan|inf|None)", page.raw)


def test_missing_crop_is_said_and_present_ones_are_inlined(data: ReportData, page: Page, tmp_path: Path) -> None:
    images = [value for tag, name, value in page.attributes if tag == "img" and name == "src"]
    assert len(images) == 6
    assert images[0] == view.data_uri(data.crops[0].noisy)
    lost = dataclasses.replace(data.crops[0], optimised=tmp_path / "gone.png")
    write_page(dataclasses.replace(empty(), crops=[lost]), tmp_path / "report.html")
    found = Page(tmp_path / "report.html")
    assert found.tags.count("img") == 2
    assert "The file of this crop was not found." in found.text
