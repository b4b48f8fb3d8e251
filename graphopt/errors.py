"""The one exception that users see: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GraphoptError(Exception):
    """A mistake that the user can mend. Its text is a complete message; the command line prints it without a trace."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when one of `known` is near `word`, and the list of what is known otherwise."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"
