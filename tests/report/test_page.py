"""The report: figures as given, a page that stands alone, and no nonsense where something is missing."""

# ruff: noqa: RUF001
from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

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
from graphopt.report.metrics import metrics, write_metrics
from graphopt.report.page import write_page
from graphopt.report.palette import COLOURS, NEUTRAL, colours
from graphopt.report.plots import curve, probability_map
from graphopt.report.summary import summary_table

KINDS = {
    "feed-forward": ("fold-conv", "drop"),
    "norm1": ("channel-affine", "drop"),
    "sca": ("static-attention", "drop"),
    "conv2": ("merge-depthwise", "kernel-1x1"),
    "norm2": ("channel-affine", "drop"),
}
STAGES = {"source": 3.2, "space": 41.7, "cost": 1312.4, "search": 5400.9, "finetune": 12345.6, "deploy": 65.25}


def network_choices(seed: int = 0) -> list[ChoiceRow]:
    """The choices of a 36-block NAFNet without its middle: 24 blocks with 5 sites, 4 upsamplings."""
    random = np.random.default_rng(seed)
    rows: list[ChoiceRow] = []

    def choice(site: str, block: str, parent: str | None, names: tuple[str, ...]) -> ChoiceRow:
        probabilities = random.dirichlet([0.25] * (1 + len(names)))
        best = int(np.argmax(probabilities))
        candidates = [
            CandidateRow(
                name,
                "tuned" if name in {"drop", "static-attention", "channel-affine", "kernel-1x1"} else "exact",
                index == best,
                float(probabilities[index]),
                {t: 0.0 if index == 0 else -float(random.uniform(-0.02, scale)) for t, scale in SCALES.items()},
                4096 >> index,
            )
            for index, name in enumerate(("keep", *names))
        ]
        return ChoiceRow(site, block, parent, candidates)

    def level(part: str, number: int, blocks: int) -> None:
        for index in range(blocks):
            block = f"{part}.{number}.{index}"
            for kind, names in KINDS.items():
                parent = f"{block}/feed-forward" if kind == "norm2" else None
                rows.append(choice(f"{block}/{kind}", block, parent, names))

    for number, blocks in enumerate((2, 2, 4, 8)):
        level("encoders", number, blocks)
    for number, blocks in enumerate((2, 2, 2, 2)):
        rows.append(choice(f"ups.{number}", f"ups.{number}", None, ("transposed-conv",)))
        level("decoders", number, blocks)
    return rows


SCALES = {"adreno-750": 0.31, "host-cpu": 0.9, "mali-g78": 0.5}


def history_of(choices: list[ChoiceRow], points: int = 80) -> list[HistoryPoint]:
    """A search that goes from an even split to the final probabilities, with a warm-up of a quarter."""
    found = []
    random = np.random.default_rng(1)
    for index in range(points):
        progress = max(0.0, (index - points / 4) / (points * 3 / 4))
        probabilities = {}
        for number, choice in enumerate(choices):
            final = np.array([row.probability for row in choice.candidates])
            share = progress ** (0.5 + (number % 7) / 3)
            mixed = (1 - share) / len(final) + share * final
            probabilities[choice.site] = [float(value) for value in mixed]
        entropy = float(np.mean([-sum(p * math.log(p + 1e-12) for p in row) / math.log(len(row))
                                 for row in probabilities.values()]))  # fmt: skip
        wobble = float(random.normal(0, 0.05))
        expected = {"adreno-750": 21.4 - 7 * progress + wobble, "host-cpu": 310.0 - 90 * progress + 20 * wobble,
                    "mali-g78": 71.0 - 20 * progress + wobble}  # fmt: skip
        phase = "warm-up" if progress == 0 else "search"
        found.append(HistoryPoint(index * 50, phase, entropy, 5 * 0.02**progress, expected, -30.1 - progress + wobble,
                                  probabilities))  # fmt: skip
    return found


def price(latency: float, low: float, high: float, provenance: str, memory: int) -> dict[str, object]:
    return {
        "latency_ms": latency, "low_ms": low, "high_ms": high, "provenance": provenance, "peak_memory_bytes": memory,
    }  # fmt: skip


def sample(folder: Path) -> ReportData:
    """A report as a real run would fill it."""
    choices = network_choices()
    random = np.random.default_rng(2)
    y, x = np.mgrid[0:96, 0:96] / 96
    clean = np.stack([0.5 + 0.4 * np.sin(9 * x + 4 * y * y), 0.4 + 0.5 * y, 0.5 + 0.4 * np.cos(17 * x * y)], -1)
    crops = []
    for number in range(2):
        paths = {}
        for name, noise in (("noisy", 0.1), ("original", 0.01), ("optimised", 0.013)):
            image = np.clip(clean + random.normal(0, noise, clean.shape), 0, 1)
            paths[name] = folder / f"{number}-{name}.png"
            Image.fromarray((255 * image).astype(np.uint8)).save(paths[name])
        psnr = {"noisy": 20.17, "original": 31.42 + number, "optimised": 31.29 + number}
        crops.append(CropRow(f"kodim0{number + 1}.png, 96x96 at (128, {64 * number})", **paths, psnr=psnr))
    targets = [
        TargetRow("adreno-750", "Adreno 750 (GPU)", 0.5,
                  price(21.44, 16.1, 28.6, "estimated: kernel model", 48_300_000),
                  price(13.87, 10.4, 18.9, "estimated: kernel model", 31_200_000), 14.02, "estimated"),
        TargetRow("host-cpu", "Host CPU", 0.3, price(312.5, 309.8, 316.0, "measured: 50 runs, 1 thread", 61_000_000),
                  price(221.3, 219.0, 225.1, "measured: 50 runs, 1 thread", 42_500_000), 240.9, "measured"),
        TargetRow("mali-g78", "Mali-G78 MP14 (GPU)", 0.2,
                  price(71.2, 50.0, 99.0, "estimated: kernel model", 48_300_000),
                  price(52.5, 37.0, 73.0, "estimated: kernel model", 31_200_000), 51.8, "estimated"),
    ]  # fmt: skip
    refusals = [
        *(RefusalRow("channel-affine", f"middle_blks.{i}/norm1", "variance over calibration images is too large")
          for i in range(12)),
        *(RefusalRow("transposed-conv", f"ups.{i}", "PixelShuffle has factor 4, expected 2") for i in range(2)),
        RefusalRow("channel-affine", "intro/norm", "the axis is not the channel axis"),
    ]  # fmt: skip
    return ReportData(
        title="NAFNet width 32, denoising at sigma 25",
        quality={"noisy": {"psnr": 20.173, "ssim": 0.3411}, "before": {"psnr": 31.418, "ssim": 0.88214},
                 "after": {"psnr": 31.296, "ssim": 0.87931}},
        parameters={"before": 17_111_907, "after": 11_604_355},
        macs={"before": 16_254_976_000, "after": 10_871_635_968},
        targets=targets,
        choices=choices,
        refusals=refusals,
        exact=["fold-affine: 96 nodes folded", "fuse-pixel-shuffle: 4 upsamplings rewritten"],
        history=history_of(choices),
        tuning=[TunePoint(step * 500, 30.4 + 0.9 * (1 - math.exp(-step / 6)), 0.01 + 0.02 * math.exp(-step / 6))
                for step in range(41)],
        crops=crops,
        seconds=STAGES,
        command="graphopt run nafnet.yaml --run runs/nafnet32",
        config_text="source: {checkpoint: nafnet.pth}\npasses:\n  - channel-affine\n  - static-attention\n",
        latency_goal="0.7 of the original's latency, weighted over the targets",
        files=["optimised_fp32.onnx", "optimised_fp16.onnx", "metrics.json", "report.html"],
        front=[FrontPoint(method, goal, method == "entropy", 30 + goal + bonus, {t: 40 * goal for t in SCALES}, 0.05, 0.96)
               for method, bonus in (("entropy", 0.2), ("milp", 0.0)) for goal in (0.3, 0.5)],
    )  # fmt: skip


def empty() -> ReportData:
    return ReportData("nothing", {}, {}, {}, [], [], [], [], [], [], [], {}, "", "", "", [])


class Page(HTMLParser):
    """Collects tags, attributes and text; complains about tags that do not nest."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(self.raw)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return sample(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def page(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    write_page(data, path)
    return Page(path)


def test_metrics_have_exactly_the_declared_shape_and_values(data: ReportData, tmp_path: Path) -> None:
    small = dataclasses.replace(data, targets=data.targets[:1], choices=data.choices[:2], seconds={"cost": 1312.4})
    chosen = [next(row.name for row in choice.candidates if row.chosen) for choice in small.choices]
    expected = {
        "targets": {
            "adreno-750": {
                "before": {"latency_ms": 21.44, "low_ms": 16.1, "high_ms": 28.6,
                           "provenance": "estimated: kernel model", "peak_memory_bytes": 48_300_000},
                "after": {"latency_ms": 13.87, "low_ms": 10.4, "high_ms": 18.9,
                          "provenance": "estimated: kernel model", "peak_memory_bytes": 31_200_000},
            }
        },
        "quality": {"before": {"psnr": 31.418, "ssim": 0.88214}, "after": {"psnr": 31.296, "ssim": 0.87931}},
        "parameters": {"before": 17_111_907, "after": 11_604_355},
        "macs": {"before": 16_254_976_000, "after": 10_871_635_968},
        "choices": {"encoders.0.0/feed-forward": chosen[0], "encoders.0.0/norm1": chosen[1]},
        "seconds": {"cost": 1312.4},
    }  # fmt: skip
    assert metrics(small) == expected
    write_metrics(small, tmp_path / "run" / "metrics.json")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == expected


def test_metrics_name_every_choice_once(data: ReportData) -> None:
    found = metrics(data)["choices"]
    assert len(found) == len(data.choices) == 24 * 5 + 4
    assert found["ups.0"] in {"keep", "transposed-conv"}


def test_metrics_are_standard_json_where_figures_are_not_finite(tmp_path: Path) -> None:
    row = price(math.inf, math.nan, 3.0, "estimated", 5)
    data = dataclasses.replace(empty(), targets=[TargetRow("t", "T", 1.0, row, {}, None)],
                               quality={"before": {"psnr": math.inf, "ssim": 1.0}})  # fmt: skip
    write_metrics(data, tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert found["targets"]["t"]["before"] == {
        "latency_ms": None, "low_ms": None, "high_ms": 3.0, "provenance": "estimated", "peak_memory_bytes": 5,
    }  # fmt: skip
    assert set(found["targets"]["t"]["after"].values()) == {None}
    assert found["quality"] == {"before": {"psnr": None, "ssim": 1.0}, "after": {"psnr": None, "ssim": None}}


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
        for row in target.values():
            for key in ("latency_ms", "low_ms", "high_ms"):
                assert formats.milliseconds(row[key]).replace(formats.SPACE, " ") in page.text
            assert row["provenance"] in page.text
            assert formats.memory(row["peak_memory_bytes"]).replace(formats.SPACE, " ") in page.text
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
    assert "1.55× faster on Adreno 750 (GPU) (estimated) · PSNR −0.12 dB · MACs −33.1 % · parameters −32.2 %" in text
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


def two_targets(after: dict[str, object], parts: float | None = None) -> view.TargetCard:
    return view.target_card(TargetRow("t", "T", 1.0, price(10.0, 9.0, 11.0, "measured", 1), after, parts))


def test_warnings_say_when_a_gain_is_not_to_be_trusted() -> None:
    sound = two_targets(price(8.0, 7.5, 8.5, "measured: rpc", 1), parts=8.3)
    assert sound.warnings == []
    assert sound.speed == "1.25× faster"
    assert sound.parts_difference == pytest.approx(3.75)
    assert [bar.width for bar in sound.bars] == [90.91, 72.73]
    assert (sound.bars[1].low, sound.bars[1].high) == (68.18, 77.27)
    overlapping = two_targets(price(9.5, 8.0, 10.0, "measured", 1))
    assert len(overlapping.warnings) == 1
    assert "overlap" in overlapping.warnings[0]
    mixed = two_targets(price(8.0, 7.5, 8.5, "estimated: model", 1))
    assert len(mixed.warnings) == 1
    assert "provenance" in mixed.warnings[0]
    off = two_targets(price(8.0, 7.5, 8.5, "measured", 1), parts=7.0)
    assert len(off.warnings) == 1
    assert "−12.5" in off.warnings[0]


def test_sites_inside_a_replaced_one_are_not_counted() -> None:
    def row(site: str, parent: str | None, chosen: str) -> ChoiceRow:
        options = [CandidateRow(n, "tuned", n == chosen, 0.5, {"t": d}, 1) for n, d in (("keep", 0.0), ("drop", -2.0))]
        return ChoiceRow(site, "b.0", parent, options)

    choices = [row("b.0", None, "keep"), row("b.0/ff", "b.0", "drop"), row("b.0/norm", "b.0/ff", "drop"),
               row("b.0/sca", "b.0", "keep")]  # fmt: skip
    assert view.outcome(choices) == {"keep": 2, "drop": 1}
    assert list(view.kinds(choices)) == ["whole block", "ff", "norm", "sca"]
    (block,) = view.blocks(choices)
    assert block.changed == 1
    assert block.deltas == {"t": -2.0}
    assert block.cells["norm"][0].inside == "b.0/ff"
    assert block.cells["sca"][0].inside is None


def test_refusals_are_grouped_with_the_most_frequent_reason_first(data: ReportData) -> None:
    found = view.grouped(data.refusals)
    assert list(found) == ["channel-affine", "transposed-conv"]
    assert [len(where) for where in found["channel-affine"].values()] == [12, 1]


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
        (formats.speed(10, 12.5), "1.25× slower"), (formats.speed(10, 10.001), "as fast as before"),
        (formats.speed(10, 0), "–"), (formats.speed(math.inf, 2), "–"), (formats.percent(formats.change(0, 3)), "–"),
    ],
)  # fmt: skip
def test_formats(text: str, expected: str) -> None:
    assert text.replace(formats.SPACE, " ") == expected


def test_summary_holds_the_main_figures(data: ReportData) -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary_table(data))
    text = console.export_text().replace(formats.SPACE, " ")
    for words in ("21.44 ms", "13.87 ms", "−35.3 %", "46.1 MiB", "31.42 dB", "−0.12 dB", "16.25 G", "11.60 M",
                  "measured", "estimated", "counted", "of 111"):  # fmt: skip
        assert words in text, words
