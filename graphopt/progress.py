"""How long work says where it is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]  # the share that is done, in [0, 1], and a few words


def silent(share: float, words: str) -> None:
    """Where nobody listens."""


def part_of(say: Progress, start: float, end: float) -> Progress:
    """What a part of the work says, as what the whole says between `start` and `end`."""
    return lambda share, words: say(start + (end - start) * share, words)
