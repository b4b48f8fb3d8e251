"""Files that are written whole or not at all: whatever kills the writing leaves the old file, or the new one."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphopt.errors import GraphoptError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is written there takes the place of `path` at the end, and is on the disk.

    It ends like `path`, for libraries that go by the ending. Each process has a name of its own, so that two that write
    the same file do not mix. What fails leaves nothing.

    Raises:
        GraphoptError: the disk is full, or cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        again = "the disk is full; make room, and the same command goes on from there"
        why = again if full else error.strerror or str(error)
        raise GraphoptError(f"{path} cannot be written: {why}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Anything that JSON can hold, indented."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
