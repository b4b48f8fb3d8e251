"""`quantise:` of a pipeline: how ranges of integers are found, and what may stay wider than 8 bits."""

from __future__ import annotations

from pydantic import Field

from graphopt.config.keys import Strict


class QuantiseConfig(Strict):
    """For targets whose precision is one of integers: `w8a8` or `w8a16`."""

    images: int = Field(default=16, ge=1, description="patches that ranges are found on")
    mixed: float = Field(
        default=0, ge=0, le=1, description="layers stay wider that cost at most this share of the latency; 0 for none"
    )
