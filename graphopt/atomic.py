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

    Each process has a name of its own, so that two that write the same file do not mix. What fails leaves nothing.

    Raises:
        GraphoptError: the disk is full.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GraphoptError(
            f"{path} cannot be written: the disk is full; make room, and the same command goes on from there"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Anything that JSON can hold, indented."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
