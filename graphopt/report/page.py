"""The page: one HTML file that opens offline, with its style, plots and images inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from graphopt.atomic import replacing
from graphopt.report import formats, plots, view
from graphopt.report.data import ChoiceRow, ReportData
from graphopt.report.keep import KEEP
from graphopt.report.palette import COLOURS, colours

FOLDER = Path(__file__).parent


def write_page(data: ReportData, path: Path) -> None:
    """Writes `data` as one self-contained HTML file (no script, no address outside it)."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(formats, name)
        for name in ("number", "milliseconds", "count", "short_count", "memory", "seconds", "percent")
    }
    environment.globals |= {"evidence": view.evidence, "KEEP": KEEP}
    html = environment.get_template("page.html").render(_content(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _content(data: ReportData) -> dict[str, Any]:
    by_site = {choice.site: choice for choice in data.choices}
    spent = {stage: formats.known(value) or 0.0 for stage, value in data.seconds.items()}
    total = sum(spent.values())
    shares = {stage: round(100 * value / total, 2) if total > 0 else 0.0 for stage, value in spent.items()}
    return {
        "data": data,
        "style": Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        "lede": view.lede(data),
        "cards": [view.target_card(target) for target in data.targets],
        "quality": _quality(data),
        "sizes": [("Parameters", data.parameters), ("MACs", data.macs)],
        "change": formats.change,
        "speed": formats.speed,
        "kinds": list(view.kinds(data.choices)),
        "blocks": view.blocks(data.choices),
        "outcome": view.outcome(data.choices),
        "swallowed": {choice.site: view.swallowed_by(choice, by_site) for choice in data.choices},
        "colours": colours(data.choices),
        "maps": _maps(data),
        "fronts": _fronts(data),
        "curves": _search_curves(data),
        "tuning": _tuning_curves(data),
        "refusals": view.grouped(data.refusals),
        "crops": [
            (crop, [(name, view.data_uri(getattr(crop, name))) for name in ("noisy", "original", "optimised")])
            for crop in data.crops
        ],
        "artefact_warning": view.artefact_warning,
        "judged": [row for row in data.artefacts if row.psnr],
        "stages": [(stage, value, shares[stage]) for stage, value in data.seconds.items()],
        "total_seconds": total,
    }


def _quality(data: ReportData) -> list[dict[str, Any]]:
    """A row a measure: noisy, before, after, difference and relative change."""
    rows = []
    measures = [("psnr", "PSNR", 2, "dB", "after"), ("ssim", "SSIM", 4, "", "after")]
    measures += [("psnr", f"PSNR, {name}", 2, "dB", name) for name in view.others(data.quality)]
    for key, name, digits, unit, chosen in measures:
        noisy, before, after = (data.quality.get(when, {}).get(key) for when in ("noisy", "before", chosen))
        old, new = formats.known(before), formats.known(after)
        difference = None if old is None or new is None else new - old
        values = [formats.number(value, digits, unit) for value in (noisy, before, after)]
        rows.append({
            "name": name, "noisy": values[0], "before": values[1], "after": values[2],
            "difference": formats.number(difference, digits, unit, sign=True),
            "percent": formats.percent(formats.change(before, after), 2),
        })  # fmt: skip
    return rows


def _maps(data: ReportData) -> list[tuple[str, int, Markup]]:
    """Probabilities over time: a plot for each kind of site."""
    palette = colours(data.choices)
    found = []
    for number, (kind, rows) in enumerate(view.kinds(data.choices).items()):
        real: Sequence[ChoiceRow] = [choice for choice in rows if len(choice.candidates) > 1]
        label = f"Probabilities at the {len(real)} sites of kind {kind} over the steps of the search"
        svg = plots.probability_map(f"map{number}", label, real, data.history, palette)
        if svg:
            found.append((kind, len(real), Markup(svg)))
    return found


def _fronts(data: ReportData) -> list[tuple[str, Markup]]:
    """A plot for each target, where the search chose more than one network."""
    if len(data.front) < 2:
        return []
    names = list(dict.fromkeys(point.method for point in data.front))
    palette = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    found = []
    for number, target in enumerate(data.targets):
        label = f"PSNR over latency on {target.title}, a line for each method"
        svg = plots.front(f"front{number}", label, data.front, target.name, palette)
        if svg:
            found.append((target.title, Markup(svg)))
    return found


def _search_curves(data: ReportData) -> list[tuple[str, str, Markup]]:
    """Title, last value and plot of everything that the search follows over time."""
    if not data.history:
        return []
    steps = [point.step for point in data.history]
    phases = plots.phases_of(data.history)
    targets = dict.fromkeys(name for point in data.history for name in point.expected_ms)
    titles = {target.name: target.title for target in data.targets}
    nan = float("nan")
    series: list[tuple[str, str, list[float], str, tuple[float, float] | None, bool]] = [
        ("Entropy", "{:.3f}", [point.entropy for point in data.history], "mean, normalised", (-0.02, 1.02), False),
        *(
            (f"Expected latency, {titles.get(name, name)}", "{:.3f} ms",
             [point.expected_ms.get(name, nan) for point in data.history], "ms, from the cost table", None, False)
            for name in targets
        ),
        ("Loss", "{:.4g}", [point.loss for point in data.history], "", None, False),
        ("Temperature", "{:.3g}", [nan if point.temperature is None else point.temperature for point in data.history],
         "", None, True),
    ]  # fmt: skip
    found = []
    for number, (title, form, values, unit, limits, log) in enumerate(series):
        svg = plots.curve(f"search{number}", f"{title} over the steps of the search", steps, values, unit=unit,
                          limits=limits, phases=phases, log=log)  # fmt: skip
        if svg:
            found.append((title, _span(values, form), Markup(svg)))
    return found


def _tuning_curves(data: ReportData) -> list[tuple[str, str, Markup]]:
    steps = [point.step for point in data.tuning]
    found = []
    for number, (title, form, unit, values) in enumerate((
        ("PSNR", "{:.2f} dB", "dB", [point.psnr for point in data.tuning]),
        ("Loss", "{:.4g}", "", [point.loss for point in data.tuning]),
    )):  # fmt: skip
        svg = plots.curve(f"tune{number}", f"{title} over the steps of fine-tuning", steps, values, unit=unit)
        if svg:
            found.append((title, _span(values, form), Markup(svg)))
    return found


def _span(values: Sequence[float], form: str) -> str:
    """First and last finite value."""
    kept = [form.format(value).replace("-", formats.MINUS) for value in values if formats.known(value) is not None]
    return kept[0] if len(kept) == 1 else f"{kept[0]} → {kept[-1]}"
