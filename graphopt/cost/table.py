"""The cost table: what each candidate of each choice saves or adds on each target, priced in its context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import onnx

from graphopt.cost.contexts import candidate_contexts
from graphopt.cost.pricing import Pricer
from graphopt.cost.record import Cost, NetworkCost
from graphopt.ir.passes import Pass
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.progress import Progress


@dataclass(frozen=True)
class Delta:
    """A candidate's price less that of `keep`, in the same context."""

    latency_ms: float
    macs: int
    parameters: int

    def __add__(self, other: Delta) -> Delta:
        return Delta(self.latency_ms + other.latency_ms, self.macs + other.macs, self.parameters + other.parameters)

    def __sub__(self, other: Delta) -> Delta:
        return Delta(self.latency_ms - other.latency_ms, self.macs - other.macs, self.parameters - other.parameters)


@dataclass(frozen=True)
class CostTable:
    """`base[target]` prices the whole network, compiled; `deltas[choice][option][target]` what an option changes.

    `settled` names the exact candidates that stand in the network already (`graphopt.cost.settling`).
    """

    base: dict[str, Cost]
    deltas: dict[str, dict[str, dict[str, Delta]]]
    settled: dict[str, str] = field(default_factory=dict)

    def expected_ms(self, space: Space, selection: Selection, target: str) -> float:
        """The sum of parts: base and the deltas of a selection; choices inside a replaced site count nothing."""
        parts = (self.deltas[name][option][target].latency_ms for name, option in space.in_effect(selection).items())
        return self.base[target].latency_ms + sum(parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CostTable:
        base = {name: Cost.from_dict(cost) for name, cost in content["base"].items()}
        deltas = {
            choice: {o: {t: Delta(**d) for t, d in targets.items()} for o, targets in options.items()}
            for choice, options in content["deltas"].items()
        }
        return cls(base, deltas, dict(content["settled"]))


def build_table(
    space: Space,
    base: Mapping[str, NetworkCost],
    pricers: Mapping[str, Pricer],
    cleanups: Sequence[Pass],
    report: Progress,
) -> CostTable:
    """Prices every candidate on every target, exact ones among them; `pricers` price models there, by target.

    A candidate is priced in its context: the site and all that folds or fuses with it, with exact clean-ups applied
    before and after, so that an affine that vanishes into a convolution costs nothing. Contexts of one shape are
    priced once.
    """
    deltas: dict[str, dict[str, dict[str, Delta]]] = {}
    priced: dict[str, dict[str, NetworkCost]] = {}
    kept: dict[str, NetworkCost] = {}
    stands: onnx.ModelProto | None = None  # where the option will
    for context in candidate_contexts(space, cleanups):
        stands = None if context.option == KEEP else stands
        if context.key not in priced:
            report(context.share, f"{context.option} at {context.choice}")
            priced[context.key] = {name: pricer.price_part(context.model, stands) for name, pricer in pricers.items()}
        costs = priced[context.key]
        if context.option == KEEP:
            kept, stands = costs, context.model
        found = {name: _difference(costs[name], kept[name], base[name], pricers[name]) for name in pricers}
        deltas.setdefault(context.choice, {})[context.option] = found
    return CostTable(dict(base), deltas)


def _difference(cost: NetworkCost, kept: NetworkCost, whole: NetworkCost, pricer: Pricer) -> Delta:
    latency = pricer.exchanged(whole, kept, cost)
    return Delta(latency, cost.macs - kept.macs, cost.parameters - kept.parameters)
