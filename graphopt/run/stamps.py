"""Stamps: each stage leaves a hash of all that it read, so that what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from graphopt import __version__
from graphopt.atomic import write_json
from graphopt.errors import GraphoptError

STAMP = "stamp.json"


def digest(*parts: Any) -> str:
    """A hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


@dataclass(frozen=True)
class Stamp:
    """What a stage read, whether it came to its end, and the seconds that all its attempts took."""

    key: str = ""
    done: bool = False
    seconds: float = 0.0


def read_stamp(place: Path) -> Stamp:
    """The stamp in the folder of a stage; an empty one where there is none, or one that cannot be read."""
    try:
        return Stamp(**json.loads((place / STAMP).read_text()))
    except (OSError, ValueError, TypeError):
        return Stamp()


@dataclass
class Stamps:
    """The stages of one run folder. A stage whose stamp holds the hash of its inputs is not run again."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    _keys: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and keeps other runs out of it. The system drops the lock of a run that was killed."""
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise GraphoptError(
                f"run folder {self.folder} is in use by another run; wait for its end, or choose another with --run"
            ) from error
        except OSError as error:
            raise GraphoptError(
                f"run folder {self.folder} cannot be written to: {error.strerror or error}; choose another with --run"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def run(self, name: str, inputs: Any, after: tuple[str, ...], work: Callable[[Path], None]) -> bool:
        """Does `work` in the folder of the stage unless it is done already; returns whether it did.

        `inputs` is all that the stage reads beside the stages `after`. A stage that was killed finds its own
        checkpoints in its folder; one whose inputs changed finds it empty.
        """
        key = digest(__version__, name, inputs, [self._keys[earlier] for earlier in after])
        self._keys[name] = key
        place = self.folder / name
        found = read_stamp(place)
        if found.key == key and found.done:
            self.seconds[name] = found.seconds
            return False
        if found.key != key and place.exists():
            if any(place.iterdir()) and not (place / STAMP).exists():
                raise GraphoptError(f"{place} was not made by graphopt; choose another run folder, or move it away")
            shutil.rmtree(place)
        place.mkdir(parents=True, exist_ok=True)
        spent = found.seconds if found.key == key else 0.0
        self._write(place, Stamp(key, False, spent))
        started = time.monotonic()
        try:
            work(place)
        except BaseException:
            self._write(place, Stamp(key, False, spent + time.monotonic() - started))
            raise
        self.seconds[name] = spent + time.monotonic() - started
        self._write(place, Stamp(key, True, self.seconds[name]))
        self.ran.append(name)
        return True

    @staticmethod
    def _write(place: Path, stamp: Stamp) -> None:
        write_json(place / STAMP, asdict(stamp))
