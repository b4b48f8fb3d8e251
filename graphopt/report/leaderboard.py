"""The leaderboard as a page: the table, and latency against quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from graphopt.atomic import replacing
from graphopt.report import formats
from graphopt.report.plots import ACCENT, INK, LINE, MUTED, STYLE, svg_text

if TYPE_CHECKING:
    from graphopt.models.leaderboard import Row

FOLDER = Path(__file__).parent


def write_leaderboard(rows: Sequence[Row], summary: str, title: str, size: str, path: Path) -> None:
    """Writes one self-contained HTML file."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formats, name) for name in ("number", "milliseconds", "count", "short_count")}
    html = environment.get_template("leaderboard.html").render(
        rows=rows,
        summary=summary,
        title=title,
        size=size,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        plot=Markup(quality_plot(rows)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def quality_plot(rows: Sequence[Row]) -> str:
    """PSNR over latency (logarithmic): hollow where published, filled where estimated; "" without any PSNR."""
    known = [row for row in rows if row.psnr is not None]
    if not known:
        return ""
    with rc_context({**STYLE, "svg.hashsalt": "leaderboard"}):
        figure = Figure(figsize=(7.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="y")
        for row in known:
            assert row.psnr is not None
            if row.published_ms is not None:
                axes.plot([row.published_ms, row.latency_ms], [row.psnr] * 2, color=LINE, linewidth=1)
                axes.plot(row.published_ms, row.psnr, "o", color=MUTED, markerfacecolor="none", markersize=5)
            axes.plot(row.latency_ms, row.psnr, "o", color=ACCENT, markersize=5)
            axes.annotate(row.name, (row.latency_ms, row.psnr), (0, 6), textcoords="offset points", fontsize=7,
                          color=INK, ha="center")  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(0.08, 0.15)
        axes.set_xlabel("ms")
        axes.set_ylabel("PSNR, dB")
        return svg_text(figure, "leaderboard", "PSNR of each network over its published and its estimated latency")
