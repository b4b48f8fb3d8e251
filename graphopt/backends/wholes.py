"""The price of a selection as one network, for targets where the sum of its parts says little."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.backends.pricing import network_cost
from graphopt.cost.cache import CostCache
from graphopt.cost.record import Cost
from graphopt.cost.target import Target
from graphopt.ir.canonical import to_model
from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
from graphopt.ir.space import Selection, Space


def whole_costs(
    space: Space, selection: Selection, targets: Sequence[Target], cleanups: Sequence[Pass], cache: CostCache
) -> dict[str, Cost]:
    """By target, of the network after clean-ups, compiled as a whole."""
    graph = apply_selection(space, selection)
    rewrite_everywhere(graph, cleanups)
    model = to_model(graph)
    return {target.name: network_cost(model, target, cache) for target in targets}
