"""A report as a real run fills it, an empty one, and a page taken apart."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from graphopt.cost.ratio import Ratio
from graphopt.report.data import (
    ArtefactRow,
    CandidateRow,
    ChoiceRow,
    CropRow,
    FrontPoint,
    HistoryPoint,
    PrecisionRow,
    PrecisionTable,
    RefusalRow,
    ReportData,
    TargetRow,
    TunePoint,
)

KINDS = {
    "feed-forward": ("fold-conv", "drop"),
    "norm1": ("channel-affine", "drop"),
    "sca": ("static-attention", "drop"),
    "conv2": ("merge-depthwise", "kernel-1x1"),
    "norm2": ("channel-affine", "drop"),
}


STAGES = {"source": 3.2, "space": 41.7, "cost": 1312.4, "search": 5400.9, "finetune": 12345.6, "deploy": 65.25}


SCALES = {"adreno-750": 0.31, "host-tvm": 0.9, "mali-g78": 0.5}


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
        expected = {"adreno-750": 21.4 - 7 * progress + wobble, "host-tvm": 310.0 - 90 * progress + 20 * wobble,
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
                  price(13.87, 10.4, 18.9, "estimated: kernel model", 31_200_000), 14.02, "estimated",
                  Ratio(1.546, 1.41, 1.72, "estimated")),
        TargetRow("host-tvm", "Host CPU", 0.3, price(312.5, 309.8, 316.0, "measured: 50 runs, 1 thread", 61_000_000),
                  price(221.3, 219.0, 225.1, "measured: 50 runs, 1 thread", 42_500_000), 240.9, "measured",
                  Ratio(1.412, 1.39, 1.431, "measured")),
        TargetRow("mali-g78", "Mali-G78 MP14 (GPU)", 0.2,
                  price(71.2, 50.0, 99.0, "estimated: kernel model", 48_300_000),
                  price(52.5, 37.0, 73.0, "estimated: kernel model", 31_200_000), 51.8, "estimated",
                  Ratio(1.356, 0.97, 1.69, "estimated")),
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
        artefacts=[
            ArtefactRow("adreno-750", "Adreno 750 (GPU)", "deploy/adreno-750/adreno-750.cl", "PoCL, in float32", 4.2e-4, []),
            ArtefactRow("npu", "Hexagon v75 (NPU)", "deploy/npu/npu.onnx", "an emulator, in float16", 3.1e-3, [],
                        "float16", 64, 4, {"original": 31.421, "onnx": 31.302, "artefact": 31.287}),
            ArtefactRow("mali-g78", "Mali-G78 MP14 (GPU)", "", "", None, ["no artefact: its compiler refuses Celu"]),
        ],
        precisions=[
            PrecisionTable("npu", "Hexagon v75 (NPU)", "an emulator", 64, 4, [
                PrecisionRow("the original", 31.421, price=price(21.4, 16.1, 28.6, "estimated", 5)),
                PrecisionRow("fp32", 31.302),
                PrecisionRow("fp16", 31.301, 31.287, price(13.87, 10.4, 18.9, "estimated", 5), deployed=True),
                PrecisionRow("w8a16", 31.288, price=price(9.41, 6.1, 14.2, "estimated", 5), why_not="the NPU refuses Erf"),
                PrecisionRow("w8a8", 31.071, 31.083, price(4.26, 1.6, 11.7, "estimated", 5)),
            ]),
        ],
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
