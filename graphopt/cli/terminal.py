"""What commands share: progress at a terminal and in a log, and tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEP = 0.0999  # share of a stage, after which a log has a line; a tenth, but for rounding
SILENCE = 15.0  # seconds without a line at most, and twenty times as long as that into a stage, a twentieth of it
BREATH = 2.0  # seconds between two lines of one stage at least
WIDEST = 400  # columns of a table in a log


class Reporter(Protocol):
    """Hears how far a stage is: a share from 0 to 1, and 1 once, at its end."""

    def __call__(self, stage: str, share: float, words: str) -> None: ...


class LogLines:
    """Lines for a log: one where a stage starts, one where it ends, and between them enough to see that it lives."""

    def __init__(self, announce: bool = True):
        """Without `announce`, a stage that is soon over leaves no line."""
        self._announce = announce
        self._started: dict[str, float] = {}
        self._said: dict[str, tuple[float, float]] = {}  # stage -> time and share of its last line

    def __call__(self, stage: str, share: float, words: str) -> None:
        now = time.monotonic()
        is_new = stage not in self._started
        self._started.setdefault(stage, now)
        if self._announce and (is_new or share == 1):
            self._say(stage, share, words, now)
        elif is_new:
            self._said[stage] = (now, share)
        else:
            then, before = self._said[stage]
            silence = max(SILENCE, (now - self._started[stage]) / 20)
            if now - then >= silence or (share - before >= STEP and now - then >= BREATH):
                self._say(stage, share, f"{share:.0%}, {words}", now)

    def _say(self, stage: str, share: float, line: str, now: float) -> None:
        self._said[stage] = (now, share)
        typer.echo(f"{stage}: {line}", err=True)


class Bars:
    """A bar for each stage, with the time that it took and the time that it may still take."""

    def __init__(self, bars: Progress):
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, share: float, words: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=1.0, words="")
        self._bars.update(self._tasks[stage], completed=share, words=words)


@contextmanager
def progress(announce: bool = True) -> Iterator[Reporter]:
    """Bars at a terminal, lines where the output of errors is a file."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield LogLines(announce)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    stage, words = TextColumn("{task.description:<9}"), TextColumn("{task.fields[words]}", style="dim")
    columns = (TimeElapsedColumn(), stage, BarColumn(30), TimeRemainingColumn(), words)
    with Progress(*columns, console=console) as bars:
        yield Bars(bars)


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """The `columns` of `rows`, aligned; cells are cut at a terminal that is too narrow, and in no file or pipe."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        value = {key: json.dumps(cell) if isinstance(cell, dict) else str(cell) for key, cell in row.items()}
        table.add_row(*(escape(value[column]) for column in columns))
    console = Console()
    if not console.is_terminal:
        console.width = WIDEST
    console.print(table)


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """`rows` as JSON, or the `columns` of them as a table."""
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        print_table(rows, columns)


def count(number: int, one: str, many: str | None = None) -> str:
    """`3 sites`, `1 site`; `many` where the plural has no plain s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
