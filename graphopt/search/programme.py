"""Integer programming on sensitivities, as in LANA (Molchanov et al. 2022): minimise the sum, meet every goal.

x_ik = 1 where choice i has option k. A choice inside a site has an option only where that site is kept:
sum_k x_ik = 1 for outermost choices, sum_k x_ik = x_(outer, keep) for the others. A peak is below its goal where
everything that contributes to it is, so each option has a constraint of its own for the memory.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP
from graphopt.search.additive import Additive
from graphopt.search.hardware import Hardware

GAP = 1e-3  # relative, to the best sum that is possible
NODES = 2000  # of the branch and bound; a tight goal could take minutes for the last per mille


class Programme:
    """Variables x_ik in a row, then one more: the slack, by which every goal may be missed (relative)."""

    def __init__(self, hardware: Hardware):
        self.hardware, self.space = hardware, hardware.space
        self.at: dict[tuple[str, str], int] = {}
        for name, choice in self.space.choices.items():
            for option in choice.options:
                self.at[name, option] = len(self.at)
        self.slack = len(self.at)
        self._rows: list[dict[int, float]] = []
        self._low: list[float] = []
        self._high: list[float] = []
        self._nesting()
        self._hardware()

    def _row(self, entries: Mapping[int, float], low: float, high: float) -> None:
        self._rows.append(dict(entries))
        self._low.append(low)
        self._high.append(high)

    def _nesting(self) -> None:
        for name, choice in self.space.choices.items():
            row = {self.at[name, option]: 1.0 for option in choice.options}
            if choice.parent is None:
                self._row(row, 1, 1)
            else:
                self._row({**row, self.at[choice.parent, KEEP]: -1.0}, 0, 0)

    def _values(self, values: Mapping[str, Sequence[float]]) -> dict[int, float]:
        return {
            self.at[name, option]: float(value)
            for name, choice in self.space.choices.items()
            for option, value in zip(choice.options, values[name], strict=True)
        }

    def _hardware(self) -> None:
        """base + sum x delta <= goal (1 + slack), divided by the goal."""
        table, goals = self.hardware.table, self.hardware.goals
        for target, goal in goals.latency_ms.items():
            self._below(self.hardware.latency[target], goal)
        if goals.parameters is not None:
            self._below(self.hardware.parameters, goals.parameters)
        planned = {}
        for target, goal in goals.memory_bytes.items():
            if target in self.hardware.learnt:
                self._below(self.hardware.learnt[target].memory_bytes, goal)
            else:
                planned[target] = goal / table.base[target].peak_memory_bytes
        if planned:
            self._memory(min(planned.values()))

    def _below(self, figure: Additive, goal: float) -> None:
        row = {i: value / goal for i, value in self._values(figure.values).items()}
        self._row({**row, self.slack: -1.0}, -np.inf, 1 - figure.base / goal)

    def _memory(self, share: float) -> None:
        """held_ik x_ik + 4 (parameters + sum x delta) <= M (1 + slack), for every option that holds activations."""
        hardware = self.hardware
        assert hardware.peak is not None
        assert hardware.live is not None
        parameters, whole = self._values(hardware.parameters.values), hardware.parameters.base
        allowed = share * hardware.peak.kept_bytes
        weights = {i: 4 * value / allowed for i, value in parameters.items()}
        rest = 1 - 4 * whole / allowed
        self._row({**weights, self.slack: -1.0}, -np.inf, rest - hardware.live.outside / allowed)
        for (name, option), i in self.at.items():
            held = hardware.live.inside[name][option] / allowed
            self._row({**weights, i: weights[i] + held, self.slack: -1.0}, -np.inf, rest)

    def solve(self, costs: Mapping[int, float], slack: float) -> tuple[dict[str, str], float] | None:
        """The selection of least cost and its slack, at most `slack`; None where there is none."""
        count = self.slack + 1
        objective = np.array([costs.get(i, 0.0) for i in range(count)])
        rows, columns = zip(*((r, i) for r, row in enumerate(self._rows) for i in row), strict=True)
        data = [value for row in self._rows for value in row.values()]
        matrix = csr_array((data, (rows, columns)), shape=(len(self._rows), count))
        upper = np.ones(count)
        upper[self.slack] = slack
        integral = np.ones(count)
        integral[self.slack] = 0
        with _unheard():
            found = milp(
                objective, integrality=integral, bounds=Bounds(np.zeros(count), upper),
                constraints=LinearConstraint(matrix, self._low, self._high),
                options={"mip_rel_gap": GAP, "node_limit": NODES},  # no limit of time: the same on every machine
            )  # fmt: skip
        if found.x is None:
            return None
        selection = dict.fromkeys(self.space.choices, KEEP)
        selection |= {name: option for (name, option), i in self.at.items() if found.x[i] > 0.5}
        return selection, float(found.x[self.slack])


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
    """The selection with the least sum of `losses` that meets every goal.

    Raises GraphoptError where none does; `reachable` then says what is.
    """
    programme = Programme(hardware)
    costs = {i: max(0.0, float(losses[name][option])) for (name, option), i in programme.at.items()}
    # The slack is for the last digits alone: solvers and sums round.
    found = programme.solve(costs, slack=1e-7)
    if found is None:
        raise GraphoptError("search: no selection meets every goal")
    return found[0]


def reachable(hardware: Hardware) -> tuple[dict[str, str], float]:
    """The selection that misses its goals by the least, and by how much (relative; 0 where all can be met)."""
    programme = Programme(hardware)
    found = programme.solve({programme.slack: 1.0}, slack=1e3)
    assert found is not None  # keep everything, and miss as much as that does
    return found
