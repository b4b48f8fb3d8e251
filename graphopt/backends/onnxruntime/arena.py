"""The arena from which onnxruntime's CPU provider takes what it needs while it runs, as its own source describes it
(core/framework/bfc_arena.cc): regions that double, the smallest free piece that is large enough, neighbours joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_FIRST = 2**20  # bytes of the first region
_STEP = 256  # bytes: pieces are multiples of it
PAGE = 4096  # bytes that the system gives at once, when one of them is written


@dataclass(eq=False)
class _Piece:
    region: int
    start: int
    size: int
    used: bool = False


class Arena:
    """Takes pieces and gives them back. `resident` counts what was ever taken: nothing goes back to the system."""

    def __init__(self) -> None:
        self._next = _FIRST
        self._pieces: list[_Piece] = []
        self._written: list[set[int]] = []  # of each region, its pages

    def take(self, size: int) -> _Piece:
        """A piece of at least `size` bytes."""
        size = max(1, -(-size // _STEP)) * _STEP
        free = [piece for piece in self._pieces if not piece.used and piece.size >= size]
        piece = min(free, key=lambda one: (one.size, one.region, one.start), default=None) or self._region(size)
        if piece.size >= 2 * size:  # else the rest stays with it
            self._pieces.append(_Piece(piece.region, piece.start + size, piece.size - size))
            piece.size = size
        piece.used = True
        self._written[piece.region].update(range(piece.start // PAGE, -(-(piece.start + size) // PAGE)))
        return piece

    def give(self, piece: _Piece) -> None:
        """Frees a piece, and joins it with the free ones beside it."""
        piece.used = False
        for other in [one for one in self._pieces if one.region == piece.region and not one.used and one is not piece]:
            if other.start == piece.start + piece.size or other.start + other.size == piece.start:
                piece.start, piece.size = min(piece.start, other.start), piece.size + other.size
                self._pieces.remove(other)

    @property
    def resident(self) -> int:
        """Bytes of all pages that were ever written."""
        return sum(map(len, self._written)) * PAGE

    def _region(self, size: int) -> _Piece:
        had = self._next
        while self._next < size:
            self._next *= 2
        piece = _Piece(len(self._written), 0, self._next)
        if self._next == had:
            self._next *= 2
        self._written.append(set())
        self._pieces.append(piece)
        return piece


def resident_bytes(held: Iterable[tuple[int, int, int]], alone: Sequence[Sequence[int]]) -> int:
    """Bytes that are resident when a network has run. `held`: (bytes, the first step that needs it, the last one) of
    each buffer. `alone`: bytes that each step takes for itself.
    """
    arena, steps = Arena(), len(alone) + 1
    starts: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    for size, first, last in held:
        starts[first].append((size, last))
    ends: list[list[_Piece]] = [[] for _ in range(steps)]
    for step in range(steps):
        for size, last in starts[step]:
            ends[last].append(arena.take(size))
        for piece in [arena.take(size) for size in (alone[step] if step < len(alone) else ())]:
            arena.give(piece)
        for piece in ends[step]:
            arena.give(piece)
    return arena.resident
