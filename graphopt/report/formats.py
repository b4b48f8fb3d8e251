"""How figures are written: units, signs, thousands. A figure that is missing or not finite is a dash."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphopt.cost.ratio import Ratio

DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


def known(value: object) -> float | None:
    """`value` as a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def number(value: object, digits: int = 2, unit: str = "", sign: bool = False) -> str:
    """A number with a fixed count of `digits` after the point."""
    found = known(value)
    if found is None:
        return DASH
    text = f"{found:+,.{digits}f}" if sign else f"{found:,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # neither +0.00 nor -0.00
    return text.replace("-", MINUS) + (SPACE + unit if unit else "")


def milliseconds(value: object, sign: bool = False) -> str:
    """A latency; the smaller, the more digits."""
    found = known(value)
    if found is None:
        return DASH
    size = abs(found)
    return number(found, 1 if size >= 100 else 2 if size >= 1 or size == 0 else 3 if size >= 0.01 else 4, "ms", sign)


def count(value: object) -> str:
    """A whole number with thousands separated."""
    return number(value, 0)


def short_count(value: object) -> str:
    """`17.1 M`, `63.3 G`."""
    found = known(value)
    if found is None:
        return DASH
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(found) >= size:
            return number(found / size, 2, unit)
    return number(found, 0)


def memory(value: object) -> str:
    """Bytes in MiB or KiB."""
    found = known(value)
    if found is None:
        return DASH
    return number(found / 2**20, 1, "MiB") if found >= 2**20 else number(found / 2**10, 1, "KiB")


def seconds(value: object) -> str:
    """`4.2 s`, `12 min 05 s`, `3 h 20 min`."""
    found = known(value)
    if found is None:
        return DASH
    if found < 60:
        return number(found, 1, "s")
    whole = round(found)
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60:02d}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60:02d}{SPACE}min"


def change(before: object, after: object) -> float | None:
    """The relative change in percent, or None where there is none to speak of."""
    old, new = known(before), known(after)
    return None if old is None or new is None or old == 0 else 100 * (new - old) / abs(old)


def percent(value: object, digits: int = 1, sign: bool = True) -> str:
    """`value` is already in percent."""
    return number(value, digits, "%", sign)


def gain(ratio: Ratio | None) -> str:
    """How many times as fast, with the interval that holds 90 %; a dash where nothing was compared."""
    return DASH if ratio is None else f"{ratio} as fast"


def speed(before: object, after: object) -> str:
    """How many times faster or slower, in words; a dash where a latency is missing."""
    old, new = known(before), known(after)
    if old is None or new is None or old <= 0 or new <= 0:
        return DASH
    if f"{max(old, new) / min(old, new):.2f}" == "1.00":
        return "as fast as before"
    return f"{old / new:.2f}{TIMES} faster" if new < old else f"{new / old:.2f}{TIMES} slower"
