"""The cost table: what each candidate of each choice saves or adds on each target, priced in its context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from graphopt.cost.contexts import candidate_contexts
from graphopt.cost.pricing import Pricer
from graphopt.cost.record import Cost, NetworkCost
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.progress import Progress


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
    base: Mapping[str, NetworkCost],
    pricers: Mapping[str, Pricer],
    cleanups: Sequence[Pass],
    report: Progress,
) -> CostTable:
    """Prices every candidate on every target; `pricers` are what prices models there, by the target's name.

    A candidate is priced in its context: the site and all that folds or fuses with it, with exact clean-ups applied
    before and after, so that an affine that vanishes into a convolution costs nothing. Contexts of one shape are
    priced once.
    """
    deltas: dict[str, dict[str, dict[str, Delta]]] = {}
    priced: dict[str, dict[str, NetworkCost]] = {}
    kept: dict[str, NetworkCost] = {}
    for context in candidate_contexts(space, cleanups):
        if context.key not in priced:
            report(context.share, f"{context.option} at {context.choice}")
            priced[context.key] = {name: pricer.price(context.model) for name, pricer in pricers.items()}
        costs = priced[context.key]
        kept = costs if context.option == KEEP else kept
        found = {name: _difference(costs[name], kept[name], base[name], pricers[name]) for name in pricers}
        deltas.setdefault(context.choice, {})[context.option] = found
    exact = {
        choice.name: [c.name for c in choice.candidates.values() if c.contract is Contract.EXACT]
        for choice in space.choices.values()
    }
    return CostTable(dict(base), deltas, exact)


def _difference(cost: NetworkCost, kept: NetworkCost, whole: NetworkCost, pricer: Pricer) -> Delta:
    latency = pricer.exchanged(whole, kept, cost)
    return Delta(latency, cost.macs - kept.macs, cost.parameters - kept.parameters)
