"""The arena by hand: regions that double, the smallest free piece, neighbours joined, pages that were written."""

from __future__ import annotations

from graphopt.backends.onnxruntime.arena import PAGE, Arena, resident_bytes

MIB = 2**20


def test_a_piece_that_is_free_again_is_taken_again() -> None:
    arena = Arena()
    first = arena.take(300_000)
    arena.give(first)
    assert arena.take(200_000).start == 0
    assert arena.resident == -(-300_000 // PAGE) * PAGE


def test_neighbours_are_joined() -> None:
    arena = Arena()
    pieces = [arena.take(256_000) for _ in range(3)]
    for piece in (pieces[0], pieces[2], pieces[1]):
        arena.give(piece)
    found = arena.take(MIB)
    assert (found.region, found.start, found.size) == (0, 0, MIB)


def test_what_fits_nowhere_gets_a_larger_region() -> None:
    arena = Arena()
    assert [arena.take(size).region for size in (MIB, MIB, 5 * MIB, MIB)] == [0, 1, 2, 1]
    assert arena.resident == 8 * MIB


def test_the_smallest_free_piece_is_taken() -> None:
    arena = Arena()
    small, large = arena.take(MIB), arena.take(2 * MIB)
    arena.give(small)
    arena.give(large)
    assert arena.take(600_000).region == 0


def test_a_chain_of_steps() -> None:
    """Two buffers that follow each other share their place; what a step takes for itself lies beside them."""
    held = [(MIB // 2, 0, 0), (MIB // 2, 1, 1)]
    assert resident_bytes(held, [[], []]) == MIB // 2
    assert resident_bytes(held, [[], [MIB // 4]]) == MIB * 3 // 4
    assert resident_bytes(held, [[], [3 * MIB]]) == MIB // 2 + 3 * MIB
