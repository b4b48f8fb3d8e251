"""Work in a child process: how it ends, and what its log says."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphopt.backends.children import last_words, line_after, run_child
from graphopt.errors import GraphoptError


def child(tmp_path: Path, code: str, limit_s: float = 60) -> int:
    (tmp_path / "work.py").write_text(code)
    return run_child("work", ["one"], tmp_path, tmp_path / "log", limit_s, "working", lambda: "do less")


def test_its_status_and_its_words(tmp_path: Path) -> None:
    code = "import sys\nprint('hello')\nprint('why: too', sys.argv[1])\nsys.exit(3)\n"
    assert child(tmp_path, code) == 3
    assert line_after("why: ", tmp_path / "log") == "too one"
    assert line_after("because: ", tmp_path / "log") is None
    assert last_words(tmp_path / "log") == "last line of its log: why: too one"


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"^working took longer than 0\.5 s; do less$"):
        child(tmp_path, "while True: pass\n", 0.5)


def test_one_that_crashes_takes_only_itself(tmp_path: Path) -> None:
    code = "import os, signal\nprint('about to die', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    with pytest.raises(GraphoptError, match=r"^working ended its process with SIGSEGV: .*: about to die$"):
        child(tmp_path, code)
