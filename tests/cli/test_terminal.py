"""Progress in a log: a sign of life, and never a flood."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from graphopt.cli.terminal import LogLines, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("graphopt.cli.terminal.time.monotonic", lambda: now[0])
    return now


def lines_of(
    clock: list[float], seconds: float, steps: int, capsys: pytest.CaptureFixture[str], **how: bool
) -> list[str]:
    """What a stage of `steps` equal steps says in `seconds`, as the pipeline reports it."""
    report = LogLines(**how)
    report("search", 0.0, "starts")
    for step in range(1, steps + 1):
        clock[0] += seconds / steps
        report("search", min(step / steps, 0.999), f"step {step}")
    report("search", 1.0, "done")
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_short_stage_says_that_it_starts_and_ends(clock, capsys) -> None:
    assert lines_of(clock, 1.5, 800, capsys) == ["search: starts", "search: done"]


def test_a_stage_of_minutes_says_each_tenth(clock, capsys) -> None:
    found = lines_of(clock, 100, 800, capsys)
    assert [line.split(",")[0] for line in found[1:-1]] == [f"search: {share}%" for share in range(10, 100, 10)]
    assert found[1] == "search: 10%, step 80"


def test_a_slow_stage_is_never_silent_for_long(clock, capsys) -> None:
    found = lines_of(clock, 256, 1024, capsys)  # in steps of 0.25 s
    assert len(found) == 2 + 256 // 15
    assert found[1] == "search: 6%, step 60"


def test_hours_are_no_flood(clock, capsys) -> None:
    assert 30 < len(lines_of(clock, 4 * 3600, 20000, capsys)) < 110


def test_a_share_that_starts_again_is_no_flood(clock, capsys) -> None:
    report = LogLines()
    for part in range(100):
        for step in range(10):
            clock[0] += 0.01
            report("cost", step / 10, f"target {part}")
    assert len(capsys.readouterr().err.splitlines()) <= 6  # ten seconds


def test_quiet_commands_say_nothing_when_they_are_quick(clock, capsys) -> None:
    assert lines_of(clock, 1.5, 100, capsys, announce=False) == []
    assert len(lines_of(clock, 40, 100, capsys, announce=False)) == 10


def test_stages_that_were_done_before_have_one_line(capsys) -> None:
    with progress() as report:  # pytest's output is no terminal
        for stage in ("source", "space"):
            report(stage, 1.0, "done already")
    assert capsys.readouterr().err == "source: done already\nspace: done already\n"


def test_a_terminal_has_a_bar_with_the_time_that_remains() -> None:
    code = (
        "import time; from graphopt.cli.terminal import progress\n"
        "with progress() as report:\n"
        "    for step in range(8):\n        report('search', step / 8, f'step {step}'); time.sleep(0.1)\n"
        "    report('search', 1.0, '0.8 s')"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the end of a pseudo-terminal on Linux
        pass
    os.close(ours)
    text = shown.decode()
    assert "search" in text
    assert "0:00:00" in text
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in text
    assert "search: " not in text  # no lines between the bars
