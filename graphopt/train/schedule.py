"""How far a training run has come, by steps or by the clock, and the learning rate that follows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field


@dataclass
class Budget:
    """A training run's length: `steps`, or `minutes` of wall-clock time. Survives a restart through `spent`."""

    steps: int | None = None
    minutes: float | None = None
    spent: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Time spent so far, earlier runs included."""
        return self.spent + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """0 at the start, 1 when the budget is used up."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, self.seconds() / (60 * self.minutes))


def cosine(progress: float, peak: float, end: float = 1e-7, warm_up: float = 0.0) -> float:
    """Linear from 0 to `peak` during the first `warm_up` share, then half a cosine down to `end`."""
    if progress < warm_up:
        return peak * progress / warm_up
    position = (progress - warm_up) / (1 - warm_up)
    return end + (peak - end) * (1 + math.cos(math.pi * position)) / 2
