"""Rows of the leaderboard."""

from __future__ import annotations

from graphopt.models.leaderboard import Row


def row(name: str, published: float | None, estimated: float) -> Row:
    """`published` and `estimated` are milliseconds."""
    ratio = None if published is None else estimated / published
    return Row(name, name, "", "", 1, 1, 0.004, None, 30.0, published, estimated, estimated / 2, estimated * 2,
               "estimated", ratio, None, None)  # fmt: skip
