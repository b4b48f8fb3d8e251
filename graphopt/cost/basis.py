"""What the price of a network rests on: times of devices, tuned schedules, TVM's default ones, parts."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.cost.record import Basis, KernelCost

BASES: dict[Basis, str] = {
    "measured": "measured over RPC",
    "tuned": "estimated of tuned schedules",
    "model": "estimated of TVM's default schedules",
    "parts": "estimated of their parts, because TVM cannot compile them whole",
}


def basis_ms(kernels: Sequence[KernelCost]) -> dict[Basis, float]:
    """Milliseconds by what they rest on; empty where that is the kernel model with TVM's default schedules alone."""
    if all(row.basis == "model" for row in kernels):
        return {}
    times = {basis: sum(row.ms for row in kernels if row.basis == basis) for basis in BASES}
    return {basis: time for basis, time in times.items() if time}


def basis_in_words(kernels: Sequence[KernelCost]) -> list[str]:
    """The same in words, and the kernels that are priced by their parts."""
    times = basis_ms(kernels)
    parts = [row.name for row in kernels if row.basis == "parts"]
    said = [", ".join(f"{time:.3f} ms {BASES[basis]}" for basis, time in times.items())] if times else []
    return [*said, *([f"priced by parts: {', '.join(parts)}"] if parts else [])]
