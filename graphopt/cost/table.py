"""The cost table: what each candidate of each choice saves or adds on each target, priced in its context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from graphopt.cost.cache import CostCache
from graphopt.cost.network import network_cost
from graphopt.cost.npu_model import exchanged_ms
from graphopt.cost.record import Cost, NetworkCost
from graphopt.cost.target import Target
from graphopt.ir.canonical import to_model
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass
from graphopt.ir.regions import region_graph
from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.ir.space import KEEP, Choice, Selection, Space
from graphopt.ir.view import GraphView

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Delta:
    """A candidate's price less that of `keep`, in the same context."""

    latency_ms: float
    macs: int
    parameters: int


@dataclass(frozen=True)
class CostTable:
    """`base[target]` prices the whole network, compiled; `deltas[choice][option][target]` what an option changes.

    `keep` is priced at the cheapest of itself and the exact candidates beside it: which of them, for a mix of
    targets, is what `cheapest_exact` says.
    """

    base: dict[str, Cost]
    deltas: dict[str, dict[str, dict[str, Delta]]]
    exact: dict[str, list[str]]

    def expected_ms(self, space: Space, selection: Selection, target: str) -> float:
        """The sum of parts: base and the deltas of a selection; choices inside a replaced site count nothing."""
        total = self.base[target].latency_ms
        for name, option in selection.items():
            if not any(selection.get(outer, KEEP) != KEEP for outer in space.ancestors(name)):
                total += self.deltas[name][option][target].latency_ms
        return total

    def cheapest_exact(self, choice: str, weights: Mapping[str, float]) -> str:
        """`keep`, or the exact candidate that costs less in relative latency over the weighted targets."""

        def price(option: str) -> float:
            deltas = self.deltas[choice][option]
            return sum(w * deltas[t].latency_ms / max(self.base[t].latency_ms, 1e-9) for t, w in weights.items())

        return min([KEEP, *self.exact[choice]], key=price)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CostTable:
        base = {name: Cost.from_dict(cost) for name, cost in content["base"].items()}
        deltas = {
            choice: {o: {t: Delta(**d) for t, d in targets.items()} for o, targets in options.items()}
            for choice, options in content["deltas"].items()
        }
        return cls(base, deltas, {choice: list(names) for choice, names in content["exact"].items()})


def build_table(
    space: Space,
    base: Mapping[str, Cost],
    targets: Sequence[Target],
    cleanups: Sequence[Pass],
    cache: CostCache,
    report: Report,
) -> CostTable:
    """Prices every candidate on every target.

    A candidate is priced in its context: the site and all that folds or fuses with it, with exact clean-ups applied
    before and after, so that an affine that vanishes into a convolution costs nothing. Contexts of one shape are
    priced once.
    """
    view = GraphView(space.graph)
    deltas: dict[str, dict[str, dict[str, Delta]]] = {}
    seen: dict[str, dict[str, Delta]] = {}
    total = sum(len(choice.options) for choice in space.choices.values())
    done = 0
    for choice in space.choices.values():
        context = view.regions.context(choice.site.nodes)
        kept: dict[str, NetworkCost] | None = None
        deltas[choice.name] = {}
        for option in choice.options:
            fragment = None if option == KEEP else choice.candidates[option].fragment
            graph = region_graph(view.regions, context, fragment, choice.site.nodes if fragment else ())
            key = f"{option}|{_context_key(view, context, choice)}"
            done += 1
            if key not in seen:
                report(done / total, f"{option} at {choice.name}")
                costs = _price(graph, targets, cleanups, cache)
                kept = costs if option == KEEP else kept
                if kept is None:
                    bare = region_graph(view.regions, context)
                    kept = _price(bare, targets, cleanups, cache)
                seen[key] = {t.name: _difference(costs[t.name], kept[t.name], base[t.name], t) for t in targets}
            deltas[choice.name][option] = seen[key]
    exact = {
        choice.name: [c.name for c in choice.candidates.values() if c.contract is Contract.EXACT]
        for choice in space.choices.values()
    }
    return CostTable(dict(base), deltas, exact)


def candidate_models(space: Space, cleanups: Sequence[Pass]) -> Iterator[tuple[float, str, onnx.ModelProto]]:
    """What `build_table` prices: the share that is done, the option's name, and its context as a model, for every
    option of every choice. Contexts of one shape are made once, and given as often as they occur.
    """
    view = GraphView(space.graph)
    made: dict[str, onnx.ModelProto] = {}
    total, done = sum(len(choice.options) for choice in space.choices.values()), 0
    for choice in space.choices.values():
        context = view.regions.context(choice.site.nodes)
        alike = _context_key(view, context, choice)
        for option in choice.options:
            key = f"{option}|{alike}"
            if key not in made:
                fragment = None if option == KEEP else choice.candidates[option].fragment
                graph = region_graph(view.regions, context, fragment, choice.site.nodes if fragment else ())
                made[key] = _cleaned(graph, cleanups)
            done += 1
            yield done / total, option, made[key]


def _price(
    graph: gs.Graph, targets: Sequence[Target], cleanups: Sequence[Pass], cache: CostCache
) -> dict[str, NetworkCost]:
    model = _cleaned(graph, cleanups)
    return {target.name: network_cost(model, target, cache) for target in targets}


def _cleaned(graph: gs.Graph, cleanups: Sequence[Pass]) -> onnx.ModelProto:
    graph.toposort()
    rewrite_everywhere(graph, cleanups)
    return to_model(graph)


def _difference(cost: NetworkCost, kept: NetworkCost, whole: Cost, target: Target) -> Delta:
    latency = cost.latency_ms - kept.latency_ms
    if target.kind == "qnn" and isinstance(whole, NetworkCost):
        latency = exchanged_ms(whole, kept, cost, target)
    return Delta(latency, cost.macs - kept.macs, cost.parameters - kept.parameters)


def _context_key(view: GraphView, context: Sequence[str], choice: Choice) -> str:
    """Contexts of one shape and wiring have one key: kinds, attributes, shapes and connections, without names."""
    numbers: dict[str, int] = {}
    lines = []
    inside = set(choice.site.nodes)
    for name in context:
        node = view.nodes[name]
        operands = [
            (numbers.setdefault(t.name, len(numbers)), str(t.shape), isinstance(t, gs.Constant)) for t in node.inputs
        ]
        results = [numbers.setdefault(t.name, len(numbers)) for t in node.outputs]
        used_outside = [any(user.name not in context for user in t.outputs) for t in node.outputs]
        attributes = sorted((key, str(value)) for key, value in node.attrs.items())
        lines.append((node.op, attributes, operands, results, used_outside, name in inside))
    return repr(lines)
