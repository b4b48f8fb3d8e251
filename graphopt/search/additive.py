"""Additive models of a selection: a base, and a value for each option of each choice; and what corrects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from graphopt.cost.table import CostTable
from graphopt.ir.space import Selection, Space

Probabilities = Mapping[str, Tensor]
Values = Mapping[str, Sequence[float]]  # by choice, in the order of its options


class Additive:
    """The sum for a selection (`of`), or the expected one for independent probabilities (called; has gradients)."""

    def __init__(self, space: Space, base: float, values: Values):
        self.space, self.base, self.values = space, base, values
        self._ancestors = {name: list(space.ancestors(name)) for name in space.choices}
        self._tensors = {name: torch.tensor(values[name], dtype=torch.float32) for name in space.choices}

    def __call__(self, probabilities: Probabilities) -> Tensor:
        """E[y] = b + sum_i P(the sites around i are kept) * sum_k p_ik v_ik."""
        total = torch.tensor(self.base)
        for name, values in self._tensors.items():
            present = torch.ones(())
            for outer in self._ancestors[name]:
                present = present * probabilities[outer][0]
            total = total + present * (probabilities[name] * values).sum()
        return total

    def of(self, selection: Selection) -> float:
        return self.base + sum(
            self.values[name][self.space.choices[name].options.index(option)]
            for name, option in self.space.in_effect(selection).items()
        )


def latency_of(space: Space, table: CostTable, target: str) -> Additive:
    """In ms."""
    return _sum_of_parts(space, table, target, "latency_ms")


def parameters_of(space: Space, table: CostTable) -> Additive:
    """The same on every target."""
    return _sum_of_parts(space, table, next(iter(table.base)), "parameters")


def _sum_of_parts(space: Space, table: CostTable, target: str, figure: str) -> Additive:
    values = {
        name: [float(getattr(table.deltas[name][option][target], figure)) for option in choice.options]
        for name, choice in space.choices.items()
    }
    return Additive(space, getattr(table.base[target], figure), values)


@dataclass(frozen=True)
class Doubt:
    """How far an additive model may be off: standard deviations before anything is observed, in its unit or shares."""

    base: float
    own: float  # of each value
    alike: float = 0.0  # of all values together
    of_pass: float = 0.0  # of the values of one pass together, as a share of them
    of_all: float = 0.0  # of all values together, as a share of them
    noise: float = 0.0  # of an observation
    far: float = 0.0  # the same, as a share of its distance from where the model is to hold

    def times(self, unit: float) -> Doubt:
        """From shares of a figure to its unit."""
        own = {name: getattr(self, name) * unit for name in ("base", "own", "alike", "noise")}
        return replace(self, **own)


def corrected(model: Additive, seen: Sequence[tuple[Selection, float]], doubt: Doubt, near: float) -> Additive:
    """The most probable additive model after `seen`: selections and what they were worth as a whole.

    Bayesian linear regression (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 2.1):
    v = v0 + C X' (X C X' + N)^-1 (y - b0 - X v0). The model is to hold around the figure `near`.
    """
    choices = model.space.choices
    options = [(name, option) for name, choice in choices.items() for option in choice.candidates]
    first = np.array([value for name in choices for value in model.values[name][1:]])
    chosen = [model.space.in_effect(selection) for selection, _ in seen]
    x = np.array([[float(row.get(name) == option) for name, option in options] for row in chosen])
    y = np.array([worth for _, worth in seen])
    passes, products = np.array([option for _, option in options]), np.outer(first, first)
    covariance = doubt.own**2 * np.eye(len(first))
    covariance += doubt.alike**2 + doubt.of_all**2 * products
    covariance += doubt.of_pass**2 * products * np.equal.outer(passes, passes)
    spread = covariance @ x.T
    noise = doubt.noise**2 + (doubt.far * (y - near)) ** 2
    unexplained = y - np.array([model.of(selection) for selection, _ in seen])
    off = np.linalg.solve(x @ spread + doubt.base**2 + np.diag(noise), unexplained)
    found = iter((first + spread @ off).tolist())
    values = {name: [model.values[name][0], *(next(found) for _ in choices[name].candidates)] for name in choices}
    return Additive(model.space, model.base + float(doubt.base**2 * off.sum()), values)
