"""Stages as functions from files to files: each leaves a stamp with a hash of all that it read."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from graphopt import __version__
from graphopt.atomic import write_json
from graphopt.errors import GraphoptError


def digest(*parts: Any) -> str:
    """A hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


@dataclass
class Stages:
    """The stages of one run folder. A stage whose stamp holds the hash of its inputs is not run again."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    _keys: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and keeps other runs out of it. The system drops the lock of a run that was killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise GraphoptError(
                f"run folder {self.folder} is in use by another run; wait for its end, or choose another with --run"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def run(self, name: str, inputs: tuple[Any, ...], after: tuple[str, ...], work: Callable[[Path], None]) -> bool:
        """Runs `work(folder of the stage)` unless it is done already; returns whether it ran.

        `inputs` is all that the stage reads beside the stages `after`. A stage that was killed finds its own
        checkpoints in its folder; one whose inputs changed finds it empty.
        """
        key = digest(__version__, name, inputs, [self._keys[earlier] for earlier in after])
        self._keys[name] = key
        place, stamp = self.folder / name, self.folder / name / "stamp.json"
        found = self._read(stamp)
        if found.get("key") == key and found.get("done"):
            self.seconds[name] = found["seconds"]
            return False
        if found.get("key") != key and place.exists():
            if any(place.iterdir()) and not stamp.exists():
                raise GraphoptError(f"{place} was not made by graphopt; choose another run folder, or move it away")
            shutil.rmtree(place)
        place.mkdir(parents=True, exist_ok=True)
        spent = float(found.get("seconds", 0)) if found.get("key") == key else 0.0
        self._write(stamp, {"key": key, "done": False, "seconds": spent})
        started = time.monotonic()
        try:
            work(place)
        except BaseException:
            self._write(stamp, {"key": key, "done": False, "seconds": spent + time.monotonic() - started})
            raise
        self.seconds[name] = spent + time.monotonic() - started
        self._write(stamp, {"key": key, "done": True, "seconds": self.seconds[name]})
        self.ran.append(name)
        return True

    @staticmethod
    def _read(stamp: Path) -> dict[str, Any]:
        try:
            content = json.loads(stamp.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return content if isinstance(content, dict) else {}

    @staticmethod
    def _write(stamp: Path, content: dict[str, Any]) -> None:
        write_json(stamp, content)
