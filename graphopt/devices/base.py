"""What a device is asked, and what it answers: the same for boards, phones and farms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphopt.progress import Progress

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle
    from graphopt.cost.measured import Reading

NORMAL_95 = 1.645  # the quantile of the normal distribution that bounds 90 % from above


@dataclass(frozen=True)
class Request:
    """How to measure: timed runs, threads of the CPU, and seconds that the device may take, all in all.

    `python` is what runs Python on a board, where `python3` is not the one with the runtime.
    """

    runs: int = 30
    threads: int = 1
    limit_s: float = 600.0
    python: str = "python3"


class Device(ABC):
    """Somewhere to run a bundle. `address` is what follows the scheme, as the user wrote it."""

    @abstractmethod
    def __init__(self, address: str):
        """
        Raises:
            GraphoptError: the address is not one of this scheme.
        """

    @abstractmethod
    def measure(self, bundle: Bundle, request: Request, say: Progress) -> Reading:
        """Copies the bundle's artefact, runs it, and takes everything away again.

        Raises:
            GraphoptError: what is missing here or there, or that the device is gone: one line, and what to do.
        """


def spread_of_mean(mean: float, deviation: float, runs: int, factor: float = 1.0) -> tuple[float, float]:
    """The 90 % interval of a mean, by the runs' standard deviation; `factor` is another estimator's own."""
    half = NORMAL_95 * factor * deviation / math.sqrt(runs)
    return max(0.0, mean - half), mean + half
