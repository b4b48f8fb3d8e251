"""The peak of memory of a selection, and the expected one of probabilities (docs/search.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.search.additive import Probabilities, parameters_of

SHARPNESS = 30.0  # of the smooth maximum: 100 equal places count as 15 % more than one


class Peak:
    """The peak of memory, weights included, relative to that of the network with everything kept.

    peak(site) = p_keep * max(its own nodes, peaks of the sites inside) + sum_k p_k * held while candidate k runs,
    peak(network) = max(nodes in no site, peaks of the outermost sites) + E[bytes of weights].
    The maximum of an expectation is smooth, ln(sum exp(s x / m)) m / s with m the largest: a peak falls only where
    every place that reaches it falls, so all of those must have a gradient.
    """

    def __init__(self, space: Space, table: CostTable, live: LiveBytes):
        self._live, self._parameters = live, parameters_of(space, table)
        self._children = {name: space.children(name) for name in (None, *space.choices)}
        self._inside = {
            name: torch.tensor([float(live.inside[name][option]) for option in choice.options])
            for name, choice in space.choices.items()
        }
        self.kept_bytes, self._smoothly_kept = self.bytes_of({}), self.bytes_of({}, _smooth_largest)

    def __call__(self, probabilities: Probabilities) -> Tensor:
        """The expected one, which has gradients."""

        def peak(name: str) -> Tensor:
            p, held = probabilities[name], self._inside[name]
            return p[0] * _smooth_max([held[0], *map(peak, self._children[name])]) + (p[1:] * held[1:]).sum()

        activations = _smooth_max([torch.tensor(float(self._live.outside)), *map(peak, self._children[None])])
        return (activations + 4 * self._parameters(probabilities)) / self._smoothly_kept

    def of(self, selection: Selection) -> float:
        return self.bytes_of(selection) / self.kept_bytes

    def bytes_of(self, selection: Selection, largest: Callable[[Sequence[float]], float] = max) -> float:
        """In fp32, by the plain maximum or another one."""

        def peak(name: str) -> float:
            option = selection.get(name, KEEP)
            inside = map(peak, self._children[name]) if option == KEEP else ()
            return largest([float(self._live.inside[name][option]), *inside])

        activations = largest([float(self._live.outside), *map(peak, self._children[None])])
        return activations + 4 * self._parameters.of(selection)


def _smooth_max(values: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack(list(values))
    scale = stacked.detach().max().clamp_min(1.0) / SHARPNESS
    return torch.logsumexp(stacked / scale, 0) * scale


def _smooth_largest(values: Sequence[float]) -> float:
    return float(_smooth_max([torch.tensor(value, dtype=torch.float64) for value in values]))
