"""Successive halving (Jamieson and Talwalkar, arXiv 1502.07943): the search of `entropy`, the better half left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphopt.search.entropy import Entropy


def halved(losses: Sequence[float], entropy: float) -> list[float]:
    """Equal shares for the exp(`entropy`) best."""
    left = max(1, round(math.exp(entropy)))
    found = [0.0] * len(losses)
    for place in np.argsort(np.nan_to_num(losses, nan=np.inf, posinf=np.inf), kind="stable")[:left]:
        found[place] = 1 / min(left, len(losses))
    return found


class Halving(Entropy):
    """The better half of the selections at equal shares after each round."""

    wide: ClassVar[int] = 1

    def new_shares(self, losses: Sequence[float], entropy: float) -> list[float]:
        return halved(losses, entropy)
