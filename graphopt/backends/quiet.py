"""Runtimes that write to the process's own outputs, past Python."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(output: int) -> Iterator[None]:
    """What anything writes to the file descriptor 1 (stdout) or 2 (stderr) meanwhile is lost."""
    (sys.stdout if output == 1 else sys.stderr).flush()
    kept = os.dup(output)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), output)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C keeps lines back while stdout is no terminal
        os.dup2(kept, output)
        os.close(kept)
