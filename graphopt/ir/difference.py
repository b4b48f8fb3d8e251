"""By how much what was computed differs from what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-12  # nothing is divided by less


def relative_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference of two arrays of one shape, relative to the largest value that is expected.

    Infinite where a value is not finite: a NaN is no difference that `max` or a comparison would see.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        off = float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), _LEAST)
    return off if np.isfinite(off) else float("inf")
