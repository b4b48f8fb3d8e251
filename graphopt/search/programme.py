"""Integer programming on sensitivities, as in LANA (Molchanov et al. 2022): minimise the sum, meet every goal.

x_ik = 1 where choice i has option k. A choice inside a site has an option only where that site is kept:
sum_k x_ik = 1 for outermost choices, sum_k x_ik = x_(outer, keep) for the others. A peak is below its goal where
everything that contributes to it is, so each option has a constraint of its own for the memory.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP
from graphopt.search.additive import Additive
from graphopt.search.hardware import Hardware

Row = NDArray[np.float64]
GAP = 1e-3  # relative, to the best sum that is possible
NODES = 2000  # of the branch and bound; a tight goal could take minutes for the last per mille


class Programme:
    """Variables x_ik in a row, then one more: the slack, by which every goal may be missed (relative)."""

    def __init__(self, hardware: Hardware):
        self.hardware, self.choices = hardware, hardware.space.choices
        self.options = [(name, option) for name, choice in self.choices.items() for option in choice.options]
        self.one = dict(zip(self.options, np.eye(len(self.options) + 1), strict=False))  # the row of each variable
        self.rows: list[tuple[Row, float, float]] = []  # weights of the variables, lower and upper bound
        for name, choice in self.choices.items():
            row = np.sum([self.one[name, option] for option in choice.options], axis=0)
            self.rows.append((row, 1, 1) if choice.parent is None else (row - self.one[choice.parent, KEEP], 0, 0))
        self._goals()

    def _goals(self) -> None:
        hardware, goals = self.hardware, self.hardware.goals
        for target, goal in goals.latency_ms.items():
            self._below(hardware.latency[target], goal)
        if goals.parameters is not None:
            self._below(hardware.parameters, goals.parameters)
        planned = []
        for target, goal in goals.memory_bytes.items():
            if target in hardware.memory:
                self._below(hardware.memory[target], goal)
            else:
                planned.append(goal / hardware.table.base[target].peak_memory_bytes)
        if planned:
            self._peak_below(min(planned))

    def _weights(self, figure: Additive, slack: float) -> Row:
        return np.array([*(value for name in self.choices for value in figure.values[name]), slack])

    def _below(self, figure: Additive, goal: float) -> None:
        """base + sum x v <= goal (1 + slack), divided by the goal."""
        self.rows.append((self._weights(figure, -goal) / goal, -np.inf, 1 - figure.base / goal))

    def _peak_below(self, share: float) -> None:
        """held_ik x_ik + 4 (parameters + sum x v) <= M (1 + slack), for every option that holds activations."""
        peak, live, parameters = self.hardware.peak, self.hardware.live, self.hardware.parameters
        assert peak is not None
        assert live is not None
        allowed = share * peak.kept_bytes
        weights, rest = 4 * self._weights(parameters, -allowed / 4) / allowed, 1 - 4 * parameters.base / allowed
        self.rows.append((weights, -np.inf, rest - live.outside / allowed))
        for (name, option), one in self.one.items():
            self.rows.append((weights + live.inside[name][option] / allowed * one, -np.inf, rest))

    def solve(self, costs: list[float], slack: float) -> tuple[dict[str, str], float] | None:
        """The selection of least cost (of its options and its slack), and its slack; None where there is none."""
        weights, low, high = zip(*self.rows, strict=True)
        free = len(self.options) * [1]
        with _unheard():
            found = milp(
                costs, integrality=[*free, 0], bounds=Bounds(0, [*free, slack]),
                constraints=LinearConstraint(csr_array(np.array(weights)), low, high),
                options={"mip_rel_gap": GAP, "node_limit": NODES},  # no limit of time: the same on every machine
            )  # fmt: skip
        if found.x is None:
            return None
        chosen = {name: option for (name, option), x in zip(self.options, found.x, strict=False) if x > 0.5}
        return dict.fromkeys(self.choices, KEEP) | chosen, float(found.x[-1])


@contextmanager
def _unheard() -> Iterator[None]:
    """HiGHS writes a line of its own to the standard output now and then, which may be JSON."""
    sys.stdout.flush()
    heard, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C keeps a buffer of its own
        os.dup2(heard, 1)
        os.close(heard)
        os.close(nowhere)


def solve(hardware: Hardware, losses: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The selection with the least sum of `losses` that meets every goal; GraphoptError where none does."""
    programme = Programme(hardware)
    costs = [max(0.0, float(losses[name][option])) for name, option in programme.options]
    found = programme.solve([*costs, 0.0], slack=1e-7)  # for the last digits alone: solvers and sums round
    if found is None:
        raise GraphoptError("search: no selection meets every goal")
    return found[0]


def reachable(hardware: Hardware) -> tuple[dict[str, str], float]:
    """The selection that misses its goals by the least, and by how much (relative; 0 where all can be met)."""
    programme = Programme(hardware)
    found = programme.solve([*(0.0 for _ in programme.options), 1.0], slack=1e3)
    assert found is not None  # keep everything, and miss as much as that does
    return found
