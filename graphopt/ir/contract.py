"""The contracts between passes and the runner."""

from enum import StrEnum


class Contract(StrEnum):
    """What a pass promises of its rewrite; the runner checks it."""

    EXACT = "exact"  # the same function, up to rounding
    APPROXIMATE = "approximate"  # within the tolerance that the pass states
    TUNED = "tuned"  # another function, made good by training
