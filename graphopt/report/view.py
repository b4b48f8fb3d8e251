"""What the page says beyond the raw figures: who won, by how much, on what evidence, and where nothing changed."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.report import formats
from graphopt.report.data import ArtefactRow, CandidateRow, ChoiceRow, RefusalRow, ReportData, TargetRow
from graphopt.report.keep import KEEP

OWN_LOSS = 0.05  # dB: what a device's own arithmetic may lose before the page warns
PARTS_TOLERANCE = 5  # percent: how far the sum of parts may lie from the compiled whole before the page warns


@dataclass(frozen=True)
class Bar:
    """A latency on its target's scale; `width`, `low` and `high` are percent of the card."""

    when: str
    latency: str
    spread: str
    provenance: str
    evidence: str
    width: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TargetCard:
    """A target's latencies drawn to one scale, and what to think of their difference."""

    target: TargetRow
    gain: str
    bars: list[Bar]
    warnings: list[str]
    parts_difference: float | None


@dataclass(frozen=True)
class Cell:
    """The outcome of one choice. `inside` names the replaced site that swallowed this one."""

    site: str
    chosen: str
    probability: float | None
    inside: str | None


@dataclass(frozen=True)
class BlockView:
    """The choices of one block: `cells` by kind for the map, `deltas` summed over what was chosen."""

    name: str
    cells: dict[str, list[Cell]]
    choices: list[ChoiceRow]
    changed: int
    deltas: dict[str, float]


def evidence(provenance: object) -> str:
    """`measured`, `estimated` or `unknown`, from the first word of a provenance."""
    word = str(provenance or "").strip().lower()
    return next((kind for kind in ("measured", "estimated") if word.startswith(kind)), "unknown")


def target_card(target: TargetRow) -> TargetCard:
    """Both latencies of a target on one scale, with warnings where the gain may not be one."""
    rows = {"before": target.before, "after": target.after}
    ends = [formats.known(row.get(key)) for row in rows.values() for key in ("latency_ms", "high_ms")]
    scale = max((end for end in ends if end is not None), default=0.0)
    after, parts = target.after.get("latency_ms"), target.sum_of_parts_ms
    difference = formats.change(after, parts)
    warnings = []
    if evidence(target.before.get("provenance")) != evidence(target.after.get("provenance")):
        warnings.append("The two latencies do not have the same provenance: their ratio is not a like-for-like one.")
    if target.gain is not None and target.gain.low < 1 < target.gain.high:
        warnings.append(f"The interval of the gain, {target.gain}, holds 1: the network may be no faster than before.")
    if difference is not None and abs(difference) > PARTS_TOLERANCE:
        warnings.append(
            f"The sum of parts is {formats.percent(difference)} off the compiled whole (more than {PARTS_TOLERANCE}"
            f"{formats.SPACE}%): the search saw prices that the compiled network does not have."
        )
    return TargetCard(
        target, formats.gain(target.gain), [_bar(when, row, scale) for when, row in rows.items()], warnings, difference
    )


def artefact_warning(row: ArtefactRow) -> str:
    """What a device's own arithmetic loses against the ONNX file on the same crops, where that can be seen."""
    if not row.psnr:
        return ""
    onnx, own = row.psnr["onnx"], row.psnr["artefact"]
    if own >= onnx - OWN_LOSS:
        return ""
    lost = "leaves no picture" if own != own else f"loses {formats.number(onnx - own, 2, 'dB')} against model.onnx"
    half = " It ends at 65504; the passes bounded-gate, clipped-norm and fp16-safe-norm keep values small."
    return f"The device's own {row.arithmetic} {lost}.{half if row.arithmetic == 'float16' else ''}"


def _bar(when: str, row: Mapping[str, Any], scale: float) -> Bar:
    latency, low, high = (formats.known(row.get(key)) for key in ("latency_ms", "low_ms", "high_ms"))
    spread = "" if low is None or high is None else f"{formats.milliseconds(low)} to {formats.milliseconds(high)}"

    def share(value: float | None) -> float | None:
        return None if value is None or scale <= 0 else round(100 * max(0.0, value) / scale, 2)

    whiskers = (share(low), share(high)) if spread else (None, None)
    provenance = str(row.get("provenance") or "provenance unknown")
    kind = evidence(row.get("provenance"))
    return Bar(when, formats.milliseconds(latency), spread, provenance, kind, share(latency) or 0.0, *whiskers)


def kind_of(choice: ChoiceRow, parents: set[str]) -> str:
    """What stands at a site, the column of the map: `norm1` of `encoders.0.1/norm1`, `ups` of `ups.0`."""
    if "/" in choice.site:
        return choice.site.rsplit("/", 1)[1]
    if choice.site in parents:
        return "whole block"
    words = [part for part in choice.site.split(".") if not part.isdigit()]
    return words[-1] if words else choice.site


def kinds(choices: Sequence[ChoiceRow]) -> dict[str, list[ChoiceRow]]:
    """The choices by kind; kinds in the order in which they first appear."""
    parents = {choice.parent for choice in choices if choice.parent is not None}
    found: dict[str, list[ChoiceRow]] = {}
    for choice in choices:
        found.setdefault(kind_of(choice, parents), []).append(choice)
    return found


def swallowed_by(choice: ChoiceRow, by_site: Mapping[str, ChoiceRow]) -> str | None:
    """The nearest enclosing site that was replaced: what was chosen inside it has no meaning."""
    parent = choice.parent
    while parent is not None and parent in by_site:
        row = by_site[parent].chosen
        if row is not None and row.name != KEEP:
            return parent
        parent = by_site[parent].parent
    return None


def blocks(choices: Sequence[ChoiceRow]) -> list[BlockView]:
    """The choices block by block, in the order of the network."""
    by_site = {choice.site: choice for choice in choices}
    kind = {choice.site: name for name, rows in kinds(choices).items() for choice in rows}
    groups: dict[str, list[ChoiceRow]] = {}
    for choice in choices:
        groups.setdefault(choice.block, []).append(choice)
    views = []
    for name, rows in groups.items():
        cells: dict[str, list[Cell]] = {}
        active: list[CandidateRow] = []
        for choice in rows:
            chosen, inside = choice.chosen, swallowed_by(choice, by_site)
            if chosen is not None and inside is None and chosen.name != KEEP:
                active.append(chosen)
            probability = None if chosen is None else formats.known(chosen.probability)
            cell = Cell(choice.site, chosen.name if chosen else formats.DASH, probability, inside)
            cells.setdefault(kind[choice.site], []).append(cell)
        targets = dict.fromkeys(target for row in active for target in row.delta_ms)
        deltas = {t: sum(formats.known(row.delta_ms.get(t)) or 0.0 for row in active) for t in targets}
        views.append(BlockView(name, cells, rows, len(active), deltas))
    return views


def outcome(choices: Sequence[ChoiceRow]) -> Counter[str]:
    """How often each candidate was chosen, sites inside replaced ones left out."""
    by_site = {choice.site: choice for choice in choices}
    rows = (choice.chosen for choice in choices if swallowed_by(choice, by_site) is None)
    return Counter(row.name for row in rows if row is not None)


def grouped(refusals: Sequence[RefusalRow]) -> dict[str, dict[str, list[str]]]:
    """pass -> reason -> where, the most frequent reasons first."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in refusals:
        found.setdefault(row.pass_name, {}).setdefault(row.reason, []).append(row.where)
    return {
        name: dict(sorted(reasons.items(), key=lambda item: -len(item[1]))) for name, reasons in sorted(found.items())
    }


def others(quality: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Of networks beside the one that is deployed on the target of the largest weight, where there are any."""
    return {name: scores for name, scores in quality.items() if name not in ("noisy", "before", "after")}


def lede(data: ReportData) -> str:
    """The gain in one sentence, on the target of the largest weight."""
    heaviest = max(data.targets, key=lambda row: formats.known(row.weight) or 0.0, default=None)
    parts = [] if heaviest is None else _headline(heaviest)
    old, new = (formats.known(data.quality.get(when, {}).get("psnr")) for when in ("before", "after"))
    if old is not None and new is not None:
        parts.append(f"PSNR {formats.number(new - old, 2, 'dB', sign=True)}")
    for name, row in (("MACs", data.macs), ("parameters", data.parameters)):
        change = formats.change(row.get("before"), row.get("after"))
        if change is not None:
            parts.append(f"{name} {formats.percent(change)}")
    # A line may break between parts, not inside one.
    return " · ".join(part.replace(" ", formats.SPACE) if len(part) < 24 else part for part in parts)


def _headline(target: TargetRow) -> list[str]:
    """The ratio that is known best: an estimate gives way to what a device has last measured of both networks."""
    pair = next((row for row in reversed(target.measured) if row.before and row.after), None)
    if pair is not None and evidence(target.gain and target.gain.provenance) != "measured":
        return [f"{formats.speed(pair.before['latency_ms'], pair.after['latency_ms'])} on {pair.device} (measured)"]
    return [] if target.gain is None else [f"{formats.gain(target.gain)} on {target.title} ({target.gain.provenance})"]


def data_uri(path: Path) -> str | None:
    """A PNG as a `data:` address, or None where the file is not there."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else None
