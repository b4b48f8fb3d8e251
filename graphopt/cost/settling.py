"""Exact candidates are settled by price, for all targets together: before a search sees the space, and once more in the
network that comes out of it, which holds what no site of the space held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from graphopt.cost.pricing import Pricer
from graphopt.cost.record import Cost, NetworkCost
from graphopt.cost.table import CostTable, Delta, build_table
from graphopt.ir.canonical import copy_graph, to_graph, to_model
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.rewriting import drop_marks, rewrite_everywhere
from graphopt.ir.settling import settled_space
from graphopt.ir.space import KEEP, Space
from graphopt.ir.space_building import build_space
from graphopt.progress import Progress

NOTHING = Delta(0.0, 0, 0)


def settle(
    space: Space, table: CostTable, weights: Mapping[str, float], price: Callable[[gs.Graph], Mapping[str, Cost]]
) -> tuple[Space, CostTable]:
    """The space and the table without exact candidates: the cheapest of each site stands in the graph.

    `weights` are those of the searched targets, `price` gives the cost of a whole graph on each of them. Where nothing
    is settled, the graph keeps its price.
    """
    settled = cheapest_exact(space, table, weights)
    opened = settled_space(space, settled)
    base = dict(price(opened.graph)) if settled else table.base
    deltas = {}
    for name, choice in opened.choices.items():
        rows = table.deltas[name]
        deltas[name] = {KEEP: dict.fromkeys(table.base, NOTHING)}
        for option in choice.candidates:
            deltas[name][option] = {t: rows[option][t] - _settled_at(space, table, settled, name, t) for t in base}
    return opened, CostTable(base, deltas, settled)


def cheapest_exact(space: Space, table: CostTable, weights: Mapping[str, float]) -> dict[str, str]:
    """By choice, the exact candidate that costs less than the site, in relative latency over the weighted targets.

    The price of a site counts with what is settled inside it. A site that holds choices of another contract stays,
    whatever an exact candidate costs: that would take these choices away.
    """

    def relative(deltas: Mapping[str, Delta]) -> float:
        return sum(w * deltas[t].latency_ms / max(table.base[t].latency_ms, 1e-9) for t, w in weights.items() if w)

    settled: dict[str, str] = {}
    for name, choice in reversed(space.choices.items()):  # inner before outer
        inside = space.inside(name)
        exact = [option for option, c in choice.candidates.items() if c.contract is Contract.EXACT]
        if not exact or any(_is_open(space, inner) for inner in inside):
            continue
        rows = table.deltas[name]
        best = min(exact, key=lambda option: relative(rows[option]))
        kept = {target: _settled_at(space, table, settled, name, target) for target in table.base}
        if relative(rows[best]) < relative(kept):
            settled = {inner: option for inner, option in settled.items() if inner not in inside}
            settled[name] = best
    return settled


def settle_network(
    graph: gs.Graph,
    passes: Sequence[Pass],
    images: list[NDArray[Any]],
    exclude: Sequence[str],
    pricers: Mapping[str, Pricer],
    weights: Mapping[str, float],
    original: onnx.ModelProto,
    say: Progress,
) -> tuple[gs.Graph, dict[str, int]]:
    """A network after its clean-ups, with its exact candidates settled, and how many of each pass. Prices of wholes are
    taken beside that of the `original`.

    What was chosen holds sites that the space did not: in candidates, and where others had been open inside. Where the
    whole costs no less afterwards, whatever its parts say, it stays as it is.
    """
    exact = [rule for rule in passes if rule.stage is Stage.SEARCH and rule.contract is Contract.EXACT]
    cleanups = [rule for rule in passes if rule.stage is Stage.CLEANUP]
    weights = {name: weights[name] for name in pricers}
    if not exact or not pricers:
        return graph, {}

    def price(priced: gs.Graph) -> dict[str, NetworkCost]:
        cleaned = copy_graph(priced)
        rewrite_everywhere(cleaned, cleanups)
        model = to_model(cleaned)
        return {name: pricer.price_beside(model, original) for name, pricer in pricers.items()}

    marked = to_graph(to_model(graph))  # with the shapes of what the search has put there
    for rule in passes:
        drop_marks(marked, rule.name)
    space = build_space(marked, exact, images, exclude, say)
    if not space.choices:
        return graph, {}
    before = price(marked)
    opened, table = settle(space, build_table(space, before, pricers, cleanups, say), weights, price)
    if not table.settled or _relative(table.base, before, weights) >= sum(weights.values()):
        return graph, {}
    return opened.graph, dict(Counter(table.settled.values()))


def _relative(after: Mapping[str, Cost], before: Mapping[str, Cost], weights: Mapping[str, float]) -> float:
    return sum(w * after[t].latency_ms / max(before[t].latency_ms, 1e-9) for t, w in weights.items())


def _is_open(space: Space, name: str) -> bool:
    return any(candidate.contract is not Contract.EXACT for candidate in space.choices[name].candidates.values())


def _settled_at(space: Space, table: CostTable, settled: Mapping[str, str], name: str, target: str) -> Delta:
    """What is settled at a site and inside it changes there, against the site as the passes found it."""
    changes = (table.deltas[at][settled[at]][target] for at in (name, *space.inside(name)) if at in settled)
    return sum(changes, NOTHING)
