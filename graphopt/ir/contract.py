"""What a pass promises of its rewrite; the runner checks it."""

from enum import StrEnum


class Contract(StrEnum):
    """The strength of the promise."""

    EXACT = "exact"  # the same function, up to rounding
    APPROXIMATE = "approximate"  # within the tolerance that the pass states
    TUNED = "tuned"  # another function, made good by training
