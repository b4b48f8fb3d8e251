"""Results: judges before and after on test photographs, and gathers all that a run wrote into the report's data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.config.pipeline import PipelineConfig
from graphopt.cost.target import Target
from graphopt.ir.space import KEEP, Space
from graphopt.ir.space_files import load_space
from graphopt.progress import Progress
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
)  # fmt: skip
from graphopt.report.published import Comparison, Option, Place, compare
from graphopt.train.data import noise_of, open_photographs, pairs_of
from graphopt.train.metrics import Quality, psnr, quality
from graphopt.train.restorer import OnnxRestorer, Restore

Planes = NDArray[np.float32]
CROP = 128


@dataclass(frozen=True)
class Run:
    """Where a run's files are, and what it was asked to do."""

    folder: Path
    config: PipelineConfig
    config_path: Path
    targets: dict[str, Target]
    weights: dict[str, float]
    test_names: Sequence[str]


def gather(run: Run, place: Path, seconds: dict[str, float], say: Progress) -> ReportData:
    """Evaluates both networks on the test images, and reads the files of the earlier stages."""
    scores, crops = _judge(run, place, say)
    space = load_space(run.folder / "search" / "space")
    found, table = _read(run, "search/selection.json"), _read(run, "cost/table.json")
    deployed, before = _read(run, "deploy/deploy.json"), _read(run, "cost/original.json")
    first = next(iter(run.targets))
    after = deployed["costs"]
    goal = ", ".join(f"{t} {ms:.2f} ms" for t, ms in found["goals_ms"].items())
    missed = f"; missed on {', '.join(found['missed'])}: no more candidates" if found["missed"] else ""
    return ReportData(
        title=f"{Path(run.config.model).name}, made faster",
        quality={name: {"psnr": score.psnr, "ssim": score.ssim} for name, score in scores.items()},
        parameters={"before": before[first]["parameters"], "after": after[first]["parameters"]},
        macs={"before": before[first]["macs"], "after": after[first]["macs"]},
        targets=[
            TargetRow(
                name, target.title, run.weights[name], before[name], after[name],
                found["sum_of_parts_ms"].get(name), target.provenance,
            )
            for name, target in run.targets.items()
        ],
        choices=_choices(space, found, table),
        refusals=[RefusalRow(r.pass_name, r.where, r.reason) for r in space.refusals],
        exact=_exact(run),
        history=[HistoryPoint(**record) for record in _read(run, "search/history.json")],
        tuning=[TunePoint(r["step"], r["psnr"], r["loss"]) for r in _read(run, "finetune/history.json")],
        crops=crops,
        seconds=seconds,
        command=f"graphopt run {run.config_path.name}",
        config_text=run.config_path.read_text(),
        latency_goal=f"{run.config.search.latency:g} of the original on each searched target ({goal}){missed}",
        files=[*deployed["files"], "report.html", "metrics.json"],
        comparison=_comparison(run, space, found, table, before, after, scores),
        front=[_front_point(row, run.config.search.method) for row in _read(run, "search/front.json")],
    )  # fmt: skip


def _front_point(row: dict[str, Any], own: str) -> FrontPoint:
    return FrontPoint(
        row["method"], row["goal"], row["method"] == own, row["psnr"], row["sum_of_parts_ms"], row["entropy"],
        row["decided"],
    )  # fmt: skip


def _judge(run: Run, place: Path, say: Progress) -> tuple[dict[str, Quality], list[CropRow]]:
    original = OnnxRestorer(onnx.load(run.folder / "source" / "canonical.onnx"), "the original")
    optimised = OnnxRestorer(onnx.load(run.folder / "model.onnx"), "model.onnx")
    pairs = list(pairs_of(open_photographs(run.config.data.test, judged=True), noise_of(run.config.data)))
    scores: dict[str, Quality] = {}
    restored: dict[str, list[Planes]] = {}
    ways: dict[str, Restore] = {"noisy": lambda image: image, "before": original, "after": optimised}
    for done, (name, restore) in enumerate(ways.items()):
        say(done / len(ways), f"quality: {name}")
        images = restored.setdefault(name, [])

        def kept(image: Planes, restore: Restore = restore, images: list[Planes] = images) -> Planes:
            images.append(restore(image))
            return images[-1]

        scores[name] = quality(pairs, kept)
    crops = [
        _crop(place, name, clean, {way: restored[way][i] for way in ways})
        for i, (name, (_, clean)) in enumerate(zip(run.test_names, pairs, strict=True))
        if i < 4
    ]
    return scores, crops


def _crop(place: Path, name: str, clean: Planes, images: dict[str, Planes]) -> CropRow:
    """The part of the image with the most detail, at four times its size in the page."""
    from graphopt.train.data import write_image

    size = min(CROP, *clean.shape[1:])
    corners = [
        (top, left)
        for top in range(0, clean.shape[1] - size + 1, size // 2)
        for left in range(0, clean.shape[2] - size + 1, size // 2)
    ]
    detail = [float(clean[:, t : t + size, left : left + size].std()) for t, left in corners]
    top, left = corners[int(np.argmax(detail))]
    part = (slice(None), slice(top, top + size), slice(left, left + size))
    paths = {way: place / f"{Path(name).stem}-{way}.png" for way in images}
    for way, image in images.items():
        write_image(paths[way], image[part])
    scores = {way: psnr(image[part], clean[part]) for way, image in images.items()}
    return CropRow(
        name, paths["noisy"], paths["before"], paths["after"],
        {"noisy": scores["noisy"], "original": scores["before"], "optimised": scores["after"]},
    )  # fmt: skip


def _choices(space: Space, found: dict[str, Any], table: dict[str, Any]) -> list[ChoiceRow]:
    """In the network's order; an outer site follows the sites inside it."""
    order = {node.name: position for position, node in enumerate(space.graph.nodes)}
    rows = []
    for choice in sorted(space.choices.values(), key=lambda c: max(order[n] for n in c.site.nodes)):
        candidates = []
        shares = found["probabilities"][choice.name]
        for option, share in zip(choice.options, shares, strict=True):
            deltas = {target: delta["latency_ms"] for target, delta in table["deltas"][choice.name][option].items()}
            fragment = None if option == KEEP else choice.candidates[option].fragment
            own = sum(int(np.prod(c.shape)) for c in fragment.constants if c.dtype == np.float32) if fragment else 0
            contract = "exact" if option == KEEP else str(choice.candidates[option].contract)
            chosen = found["selection"][choice.name] == option
            candidates.append(
                CandidateRow(option, contract, chosen, shares[0] if contract == "exact" else share, deltas, own)
            )
        rows.append(ChoiceRow(choice.name, _block(choice.name), choice.parent, candidates))
    return rows


def _comparison(
    run: Run, space: Space, found: dict[str, Any], table: dict[str, Any], before: dict[str, Any], after: dict[str, Any],
    scores: dict[str, Quality],
) -> Comparison | None:  # fmt: skip
    """Beside a paper's ratios, on the searched target of the largest weight."""
    if run.config.published is None:
        return None
    target = max(run.weights, key=lambda name: run.weights[name])

    def facts(cost: dict[str, Any], score: Quality) -> dict[str, float]:
        sizes = {"memory": cost["peak_memory_bytes"], "parameters": cost["parameters"]}
        return {"latency": cost["latency_ms"], **sizes, "psnr": score.psnr}

    places = []
    for choice in space.choices.values():
        deltas = table["deltas"][choice.name]
        options = {o: Option(deltas[o][target]["latency_ms"], deltas[o][target]["parameters"]) for o in choice.options}
        places.append(Place(choice.name, choice.parent, found["selection"][choice.name], options))
    published = run.config.published.model_dump()
    return compare(
        f"{published.pop('source')}; here {run.targets[target].title}", published,
        facts(before[target], scores["before"]), facts(after[target], scores["after"]), places,
    )  # fmt: skip


def _block(site: str) -> str:
    """`encoders.0.1/norm1` -> `encoders.0.1`; a site that is a whole block stands for itself."""
    return site.rsplit("/", 1)[0]


def _exact(run: Run) -> list[str]:
    edits = _read(run, "deploy/edits.json")
    prepared, forms = _read(run, "space/prepared.json"), _read(run, "finetune/forms.json")
    settled = Counter(_read(run, "cost/table.json")["settled"].values())
    lines = [f"{name}: {count} sites, before the search" for name, count in prepared.items()]
    lines += [f"{name}: {count} sites, cheaper than what stood there" for name, count in settled.items()]
    lines += [
        f"{name}: {count} sites in their training form while fine-tuned; collapsed, the output differs by "
        f"{forms['difference']:.1e} relative (measured, in fp64)"
        for name, count in forms["sites"].items()
    ]
    lines += [f"{name}: {count} rewrites in the tuned network" for name, count in edits["edits"].items()]
    nodes = f"{edits['nodes_before']} nodes became {edits['nodes_after']}"
    return [*lines, f"{nodes}; the output changed by {edits['difference']:.1e} relative (measured)"]


def _read(run: Run, name: str) -> Any:
    return json.loads((run.folder / name).read_text())
