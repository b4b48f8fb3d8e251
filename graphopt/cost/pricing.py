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

    def price_part(self, model: onnx.ModelProto, kept: onnx.ModelProto | None = None) -> NetworkCost:
        """The price of a part as it stands inside a network; `kept` stands in its place as the network is."""

    def price_beside(self, model: onnx.ModelProto, reference: onnx.ModelProto) -> NetworkCost:
        """The price of a canonical model, to be compared with that of another."""

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        """Milliseconds that `whole` takes more where its part `kept` gives way to `put`."""


def whole_costs(
    space: Space,
    selection: Selection,
    pricers: Mapping[str, Pricer],
    cleanups: Sequence[Pass],
    original: onnx.ModelProto,
) -> dict[str, Cost]:
    """By target, of a selection as one network, after clean-ups: for targets where the sum of its parts says little.

    It is compared with the `original`, whose price the goals are shares of.
    """
    graph = apply_selection(space, selection)
    rewrite_everywhere(graph, cleanups)
    model = to_model(graph)
    return {name: pricer.price_beside(model, original) for name, pricer in pricers.items()}
