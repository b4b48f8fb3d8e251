"""How long work says where it is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]  # the share that is done, in [0, 1], and a few words


def silent(share: float, words: str) -> None:
    """Where nobody listens."""
