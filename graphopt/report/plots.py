"""Plots as SVG text for inlining: no font, no colour of their own theme, the same bytes for the same data."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from graphopt.report.data import ChoiceRow, FrontPoint, HistoryPoint
from graphopt.report.formats import known

# Stand-ins that are replaced by the variables of the page's style, so that a plot follows light and dark.
THEME = {"#010203": "var(--ink)", "#040506": "var(--muted)", "#070809": "var(--line)", "#0a0b0c": "var(--accent)"}
INK, MUTED, LINE, ACCENT = THEME
WIDTH = 3.7  # inches; the page scales a plot to its column
COLUMNS = 120  # columns of a probability map: more cannot be told apart
POINTS = 400  # points of a curve

STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 8, "text.parse_math": False,
    "text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "xtick.color": LINE, "ytick.color": LINE,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.8, "xtick.major.size": 2.5, "ytick.major.size": 0, "grid.color": LINE, "grid.linewidth": 0.6,
    "axes.grid.axis": "y", "axes.axisbelow": True, "lines.linewidth": 1.4, "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
}  # fmt: skip


def curve(
    name: str,
    label: str,
    steps: Sequence[int],
    values: Sequence[float],
    *,
    unit: str = "",
    limits: tuple[float, float] | None = None,
    phases: Mapping[str, int] | None = None,
    log: bool = False,
) -> str:
    """`values` over `steps`; points that are not finite are left out, and "" is returned where none is left.

    `name` makes the ids in the SVG unique on a page, `label` is read out by screen readers. `phases` marks the
    steps at which they began.
    """
    every = max(1, -(-len(steps) // POINTS))
    last = len(steps) - 1
    kept = [i for i in range(len(steps)) if (i % every == 0 or i == last) and known(values[i]) is not None]
    log = log and all(values[i] > 0 for i in kept)
    if not kept:
        return ""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, 1.9), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="y")
        axes.plot(
            [steps[i] for i in kept], [values[i] for i in kept], color=ACCENT, marker="o" if len(kept) == 1 else ""
        )
        axes.plot(steps[kept[-1]], values[kept[-1]], "o", color=ACCENT, markersize=3.5, clip_on=False)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if limits is not None:
            axes.set_ylim(*limits)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        _steps(axes, steps[0], steps[-1], phases or {})
        return svg_text(figure, name, label)


def front(name: str, label: str, points: Sequence[FrontPoint], target: str, colours: Mapping[str, str]) -> str:
    """PSNR over latency on one target: a line through the goals of each method, its name at its fastest network.

    Points that are not finite are left out, and "" is returned where none is left.
    """
    by_method: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        latency, psnr = known(point.latency_ms.get(target)), known(point.psnr)
        if latency is not None and psnr is not None:
            by_method.setdefault(point.method, []).append((latency, psnr))
    if not by_method:
        return ""
    own = {point.method for point in points if point.own}
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="y")
        for method, found in by_method.items():
            latencies, values = zip(*sorted(found), strict=True)
            width = 1.6 if method in own else 0.9
            axes.plot(latencies, values, marker="o", markersize=4, linewidth=width, color=colours[method])
            axes.annotate(
                method, (latencies[0], values[0]), (3, 3), textcoords="offset points", fontsize=7, color=colours[method]
            )
        axes.margins(x=0.08, y=0.12)
        axes.set_xlabel("ms, from the cost table")
        axes.set_ylabel("dB")
        return svg_text(figure, name, label)


def probability_map(name: str, label: str, choices: Sequence[ChoiceRow], history: Sequence[HistoryPoint],
                    colours: Mapping[str, str]) -> str:  # fmt: skip
    """A row a choice, time to the right: the colour is the leading candidate's, its strength the probability.

    Strength goes from an even split (faint) to certainty (full), so that choices with few and many candidates compare.
    Returns "" where there is nothing to show.
    """
    history = [point for point in history if any(choice.site in point.probabilities for choice in choices)]
    if not history or not choices:
        return ""
    steps = [point.step for point in history]
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    moments = np.linspace(first, last, min(COLUMNS, max(1, len(history))))
    shown = [history[int(np.searchsorted(steps, moment, side="right")) - 1] for moment in moments]
    pixels = np.zeros((len(choices), len(shown), 4), np.uint8)
    for row, choice in enumerate(choices):
        names = [candidate.name for candidate in choice.candidates]
        for column, point in enumerate(shown):
            pixels[row, column] = _pixel(names, point.probabilities.get(choice.site, ()), colours)
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, 0.62 + 0.135 * len(choices)), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(pixels, interpolation="none", aspect="auto", extent=(first, last, len(choices), 0))
        axes.set_yticks(np.arange(len(choices)) + 0.5, [choice.block for choice in choices], fontsize=7)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("step")
        _steps(axes, first, last, phases_of(history))
        return svg_text(figure, name, label)


def _pixel(names: Sequence[str], probabilities: Sequence[float], colours: Mapping[str, str]) -> NDArray[np.uint8]:
    """RGBA of the leading candidate; transparent where the probabilities are missing or not finite."""
    if len(names) != len(probabilities) or not all(known(p) is not None for p in probabilities):
        return np.zeros(4, np.uint8)
    leader = int(np.argmax(probabilities))
    even = 1 / len(names)
    certainty = 1.0 if len(names) == 1 else (float(probabilities[leader]) - even) / (1 - even)
    colour = colours[names[leader]].lstrip("#")
    alpha = round(255 * (0.12 + 0.88 * min(1.0, max(0.0, certainty))))
    return np.array([*bytes.fromhex(colour), alpha], np.uint8)


def phases_of(history: Sequence[HistoryPoint]) -> dict[str, int]:
    """The first step of each phase of a search; the first phase needs no mark."""
    return {point.phase: point.step for point in reversed(history) if point.phase != history[0].phase}


def _steps(axes: Any, first: int, last: int, phases: Mapping[str, int]) -> None:
    """The axis of steps, with a line where each phase began."""
    axes.set_xlim(first, max(last, first + 1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.margins(x=0)
    for name, begin in phases.items():
        if first < begin < last:
            axes.axvline(begin, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
            axes.annotate(name, (begin, 1), (2, 1), xycoords=("data", "axes fraction"),
                          textcoords="offset points", fontsize=7, color=MUTED)  # fmt: skip


def svg_text(figure: Figure, name: str, label: str) -> str:
    """The `<svg>` element alone: no header, no metadata, no addresses, ids made unique by `name`."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(
        r"font(-family)?: *([\d.]+px )?'DejaVu Sans'[^;\"]*", lambda m: f"font-size: {m[2]}" if m[2] else "", text
    )
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text).replace('href="#', f'href="#{name}-')
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    text = re.sub(r"\n\s*", "\n", text).replace("; ;", ";")
    head = f'<svg class="plot" role="img" aria-label="{_attribute(label)}"'
    return re.sub(r'^<svg width="[^"]*" height="[^"]*"', lambda _: head, text).strip()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
