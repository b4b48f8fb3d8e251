"""The one exception that users see: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GraphoptError(Exception):
    """A mistake that the user can mend. Its text is a complete message; the command line prints it without a trace."""


def last_line(error: BaseException) -> str:
    """What an exception of another library says at its end, where TVM's say what went wrong."""
    return next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)[:300]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when one of `known` is near `word`, and the list of what is known otherwise."""
    names = sorted(known)
    near = _nearest(word, names)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(names) or 'none'}"


def _nearest(word: str, names: list[str]) -> str | None:
    """The shortest name that starts with what was typed, then one that is spelt alike, then one that contains it."""
    typed = word.lower()
    starting = [name for name in names if len(typed) > 1 and name.lower().startswith(typed)]
    spelt = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    containing = [name for name in names if len(typed) > 2 and typed in name.lower()]
    return min(starting or spelt or containing, key=len, default=None)
