"""One colour for each candidate's name, the same in every map and plot; `keep` is neutral."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.report.data import ChoiceRow
from graphopt.report.keep import KEEP

NEUTRAL = "#8a919b"
# Mid tones that are told apart on a light and on a dark page, and by most colour-blind readers in this order.
COLOURS = (
    "#2f7ed8", "#e08a1e", "#159a74", "#c2539b", "#7a62d2", "#cf4a35", "#1798b5", "#93801a", "#a0622d", "#5c8a1f",
)  # fmt: skip


def colours(choices: Sequence[ChoiceRow]) -> dict[str, str]:
    """Candidate -> colour, in the order in which the candidates appear."""
    names = dict.fromkeys(candidate.name for choice in choices for candidate in choice.candidates)
    names.pop(KEEP, None)
    return {KEEP: NEUTRAL, **{name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}}
