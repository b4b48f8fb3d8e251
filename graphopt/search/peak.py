"""The peak of memory of a selection, and the expected one of probabilities (docs/search.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graphopt.cost.live import LiveBytes
from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.search.additive import Probabilities, parameters_of

SHARPNESS = 30.0  # of the smooth maximum: 100 equal places count as 15 % more than one


class ExpectedPeak:
    """The expected peak of memory, weights included, relative to that of the network with everything kept.

    peak(site) = p_keep * max(its own nodes, peaks of the sites inside) + sum_k p_k * held while candidate k runs,
    peak(network) = max(nodes in no site, peaks of the outermost sites) + E[bytes of weights].
    The maximum is smooth, ln(sum exp(s x / m)) m / s with m the largest: a peak falls only where every place that
    reaches it falls, so all of those must have a gradient. `of` takes a selection, and either maximum.
    `kept_bytes` is the peak with everything kept, in fp32.
    """

    def __init__(self, space: Space, table: CostTable, live: LiveBytes):
        self._space = space
        self._children = {name: space.children(name) for name in (None, *space.choices)}
        self._outside = float(live.outside)
        self._held = {
            name: {option: float(live.inside[name][option]) for option in choice.options}
            for name, choice in space.choices.items()
        }
        self._inside = {name: torch.tensor(list(held.values())) for name, held in self._held.items()}
        self._parameters = parameters_of(space, table)
        kept = dict.fromkeys(space.choices, KEEP)
        self._kept = {smooth: self._bytes_of(kept, smooth) for smooth in (False, True)}
        self.kept_bytes = self._kept[False]

    def __call__(self, probabilities: Probabilities) -> Tensor:
        peaks = [self._peak(name, probabilities) for name in self._children[None]]
        activations = _smooth_max([torch.tensor(self._outside), *peaks])
        return (activations + 4 * self._parameters(probabilities)) / self._kept[True]

    def _peak(self, name: str, probabilities: Probabilities) -> Tensor:
        p, held = probabilities[name], self._inside[name]
        inner = [self._peak(child, probabilities) for child in self._children[name]]
        return p[0] * _smooth_max([held[0], *inner]) + (p[1:] * held[1:]).sum()

    def of(self, selection: Selection, smooth: bool = False) -> float:
        """The peak of a selection, relative to that of the network with everything kept."""
        return self._bytes_of(selection, smooth) / self._kept[smooth]

    def _bytes_of(self, selection: Selection, smooth: bool) -> float:
        peaks = [self._peak_of(name, selection, smooth) for name in self._children[None]]
        return _largest([self._outside, *peaks], smooth) + 4 * self._parameters.of(selection)

    def _peak_of(self, name: str, selection: Selection, smooth: bool) -> float:
        option = selection.get(name, KEEP)
        if option != KEEP:
            return self._held[name][option]
        inner = [self._peak_of(child, selection, smooth) for child in self._children[name]]
        return _largest([self._held[name][KEEP], *inner], smooth)


def _smooth_max(values: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack(list(values))
    scale = stacked.detach().max().clamp_min(1.0) / SHARPNESS
    return torch.logsumexp(stacked / scale, 0) * scale


def _largest(values: Sequence[float], smooth: bool) -> float:
    largest = max(values)
    if not smooth:
        return largest
    scale = max(largest, 1.0) / SHARPNESS
    return largest + scale * math.log(sum(math.exp((value - largest) / scale) for value in values))
