"""Photographs that are read when they are needed: clean ones, and pairs of noisy and clean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from graphopt.errors import GraphoptError
from graphopt.train.data.images import Pixels

Views = tuple[Pixels, Pixels | None]  # clean, and noisy where there is a partner
KEPT_BYTES = 2**30
HASHED_BYTES = 2**24


@dataclass(frozen=True)
class Photograph:
    """`read` gives the clean pixels (H, W, 3) and, for a pair, the noisy ones; None: noise is to be added."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[], Views]


def check_pair(clean: Pixels, noisy: Pixels, where: str) -> Views:
    """Both, once they have one size."""
    if clean.shape != noisy.shape:
        sizes = f"{noisy.shape[0]}x{noisy.shape[1]} beside {clean.shape[0]}x{clean.shape[1]}"
        raise GraphoptError(f"{where}: the noisy image has another size than the clean one ({sizes})")
    return clean, noisy


@dataclass
class Shelf:
    """Keeps what was read as long as all of it takes up less than `budget` bytes; the rest is read again."""

    budget: int = KEPT_BYTES
    _kept: dict[int, Views] = field(default_factory=dict)
    _used: int = 0

    def read(self, key: int, photograph: Photograph) -> Views:
        if key in self._kept:
            return self._kept[key]
        views = photograph.read()
        size = sum(pixels.nbytes for pixels in views if pixels is not None)
        if self._used + size <= self.budget:
            self._kept[key] = views
            self._used += size
        return views


def photographs_digest(photographs: Iterable[Photograph]) -> str:
    """A hash of names and contents; of a file above 16 MiB, its size and time stand for its contents."""
    total = hashlib.sha256()
    for path in dict.fromkeys(path for photograph in photographs for path in photograph.files):
        found = path.stat()
        large = found.st_size > HASHED_BYTES
        content = f"{found.st_size} {found.st_mtime_ns}".encode() if large else path.read_bytes()
        total.update(path.name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()[:20]
