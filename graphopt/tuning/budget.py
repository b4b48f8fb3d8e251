"""Budgets: so many trials or minutes in all, split among workloads by their weight in the network."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from graphopt.errors import GraphoptError


@dataclass(frozen=True)
class Budget:
    """So many `trials`, or so many `minutes`, in all: what earlier runs have spent counts."""

    amount: float
    unit: Literal["trials", "minutes"]

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


def parse_budget(text: str) -> Budget:
    """`500 trials` or `10 minutes`.

    Raises:
        GraphoptError: anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(trial|minute)s?\s*", text)
    if found is None or float(found[1]) == 0 or (found[2] == "trial" and float(found[1]) % 1):
        raise GraphoptError(f"budget '{text}': expected a number of trials or of minutes, '500 trials' or '10 minutes'")
    return Budget(float(found[1]), "trials" if found[2] == "trial" else "minutes")


def split(total: float, chunk: float, weights: Mapping[str, float]) -> dict[str, float]:
    """`total` in shares that follow the weights, in whole chunks (a batch of trials, or the time that one takes): each
    chunk goes to whoever has least for its weight (V. d'Hondt's method for seats). The heaviest gets what is left over,
    and at least one chunk's worth of a total that is smaller.
    """
    shares = dict.fromkeys(weights, 0.0)
    if not weights:
        return shares
    order = sorted(weights, key=lambda name: -weights[name])
    waiting = [(-weights[name], place, name) for place, name in enumerate(order)]
    heapq.heapify(waiting)
    for _ in range(int(total // chunk)):
        _, place, name = heapq.heappop(waiting)
        shares[name] += chunk
        heapq.heappush(waiting, (-weights[name] / (shares[name] / chunk + 1), place, name))
    shares[order[0]] += total % chunk
    return shares
