"""What prices models, as seen from here: a backend, or whatever else knows what networks cost somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import onnx

from graphopt.cost.record import Cost, NetworkCost
from graphopt.ir.canonical import to_model
from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
from graphopt.ir.space import Selection, Space


class Pricer(Protocol):
    """Prices models for one target."""

    def price(self, model: onnx.ModelProto) -> NetworkCost:
        """The price of a canonical model."""

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        """Milliseconds that `whole` takes more where its part `kept` gives way to `put`."""


def whole_costs(
    space: Space, selection: Selection, pricers: Mapping[str, Pricer], cleanups: Sequence[Pass]
) -> dict[str, Cost]:
    """By target, of a selection as one network, after clean-ups: for targets where the sum of its parts says little."""
    graph = apply_selection(space, selection)
    rewrite_everywhere(graph, cleanups)
    model = to_model(graph)
    return {name: pricer.price(model) for name, pricer in pricers.items()}
