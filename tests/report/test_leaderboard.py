"""The plot of the leaderboard."""

from __future__ import annotations

from leaderboard_rows import row

from graphopt.report.leaderboard import quality_plot


def test_the_plot_shows_what_has_a_quality() -> None:
    assert quality_plot([row("a", 1, 2), row("b", None, 3)]).count("<svg") == 1
    nameless = row("a", 1, 2).__class__(**{**row("a", 1, 2).__dict__, "psnr": None})
    assert quality_plot([nameless]) == ""
