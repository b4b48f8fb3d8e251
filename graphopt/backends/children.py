"""Others' compilers, drivers and emulators in a process of their own: one that crashes or hangs takes only itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from graphopt.errors import GraphoptError


def run_child(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    limit_s: float,
    doing: str,
    too_long: Callable[[], str],
) -> int:
    """Runs a module of ours in `folder`, all that it and its libraries say in `log`; returns its exit status.

    Raises:
        GraphoptError: it took longer than `limit_s` (`doing` names the work, `too_long` says what to do), or a signal
            ended it.
    """
    status = ended_child(module, arguments, folder, log, limit_s, doing, too_long)
    if status < 0:
        raise GraphoptError(f"{doing} ended its process with {signal.Signals(-status).name}: {last_words(log)}")
    return status


def ended_child(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    limit_s: float,
    doing: str,
    too_long: Callable[[], str],
) -> int:
    """`run_child` where a signal says something of the work: then its number, negative, is the status."""
    with log.open("wb") as stream:
        try:
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=stream,
                stderr=subprocess.STDOUT, timeout=limit_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise GraphoptError(f"{doing} took longer than {limit_s:g} s; {too_long()}") from error
    return done.returncode


def line_after(mark: str, log: Path) -> str | None:
    """What follows the first line's `mark`: how a child says in its log why it gave up."""
    with log.open(errors="replace") as lines:
        return next((line.removeprefix(mark).strip()[:300] for line in lines if line.startswith(mark)), None)


def last_words(log: Path) -> str:
    """The end of a log, for people."""
    with log.open(errors="replace") as lines:
        words = [line.strip() for line in lines if line.strip()]
    return f"last line of its log: {words[-1][:200]}" if words else "it wrote no log"
