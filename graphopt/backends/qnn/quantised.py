"""The price of a quantised network on the NPU: a regression of its own for each precision of activations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from graphopt.backends.qnn.log import CompiledFacts
from graphopt.backends.qnn.regression import REFUSED
from graphopt.backends.qnn.target import NpuTarget, QuantisedNpuModel
from graphopt.backends.qnn.values import Values
from graphopt.cost.record import KernelCost, NetworkCost
from graphopt.errors import GraphoptError

_TERM = "npu-"  # before the precision, the kind of the rows of a breakdown
_KINDS = tuple(field.name for field in fields(Values))
# Each term of a price, and the parameter of the target that it takes.
PARAMETERS = {
    "launch": "launch",
    "arithmetic": "per_gmac",
    "memory": "per_megabyte",
    **{kind: f"per_million_{kind}" for kind in _KINDS},
}


@dataclass(frozen=True)
class QuantisedFeatures:
    """What the regression knows of a quantised network: graphs to launch, GMAC as the NPU pads them, megabytes over
    DDR, and millions of values of each kind that `values.Values` tells apart.
    """

    launch: float
    arithmetic: float
    memory: float
    convolved: float
    scaled: float
    border: float
    joined: float

    @classmethod
    def of(cls, facts: CompiledFacts, macs: int, values: Values) -> QuantisedFeatures:
        """`macs` are those of `padding.padded_macs`."""
        moved = facts.read_bytes + facts.written_bytes
        millions = {name: count / 1e6 for name, count in asdict(values).items()}
        return cls(facts.graphs, macs / 1e9, moved / 1e6, **millions)

    @classmethod
    def of_price(cls, cost: NetworkCost) -> QuantisedFeatures:
        """Back from the breakdown of a price."""
        rows = {row.name: row for row in cost.kernels if row.kind.startswith(_TERM)}
        moved = rows["memory"].bytes_read + rows["memory"].bytes_written
        millions = {name: rows[name].calls / 1e6 for name in _KINDS}
        return cls(rows["launch"].calls, rows["arithmetic"].macs / 1e9, moved / 1e6, **millions)


def model_of(target: NpuTarget, precision: str) -> QuantisedNpuModel:
    """The parameters for a precision.

    Raises:
        GraphoptError: the target has none.
    """
    if precision not in target.npu_model_quantised:
        known = ", ".join(["float16", *target.npu_model_quantised])
        raise GraphoptError(
            f"target {target.name} has no price for a network in {precision}, only for {known}; "
            f"fit 'npu_model_quantised' for it, or price the network before it is quantised"
        )
    return target.npu_model_quantised[precision]


def precision_of_price(cost: NetworkCost) -> str | None:
    """`w8a8` or `w8a16` where a price is that of a quantised network."""
    return next((row.kind[len(_TERM) :] for row in cost.kernels if row.kind.startswith(_TERM)), None)


def terms(features: QuantisedFeatures, model: QuantisedNpuModel) -> dict[str, float]:
    """Milliseconds that each term adds."""
    return {term: getattr(features, term) * getattr(model, name).value for term, name in PARAMETERS.items()}


def price(features: QuantisedFeatures, model: QuantisedNpuModel) -> tuple[float, float, float]:
    """Milliseconds: middle (the sum of `terms`), low, high."""
    latency = sum(terms(features, model).values())
    return latency, latency / model.spread.value, latency * model.spread.value


def breakdown(
    facts: CompiledFacts, macs: int, values: Values, model: QuantisedNpuModel, precision: str
) -> tuple[KernelCost, ...]:
    """The terms of the price; then the ops that the NPU refuses, which are not priced. `calls` of a kind of values are
    how many there are.
    """
    kind, graphs = f"{_TERM}{precision}", facts.graphs
    ms = terms(QuantisedFeatures.of(facts, macs, values), model)
    return (
        KernelCost("launch", kind, graphs, ms["launch"], 0, 0, 0),
        KernelCost("arithmetic", kind, graphs, ms["arithmetic"], macs, 0, 0),
        KernelCost("memory", kind, graphs, ms["memory"], 0, facts.read_bytes, facts.written_bytes),
        *(KernelCost(name, kind, count, ms[name], 0, 0, 0) for name, count in asdict(values).items()),
        *(KernelCost(name, REFUSED, 1, 0.0, 0, 0, 0) for name in facts.refused),
    )


def exchanged_ms(kept: NetworkCost, put: NetworkCost) -> float:
    """Milliseconds that a quantised network takes more where its part `kept` gives way to `put`. The regression is
    linear, so that the rest does not matter; parts are launched with it.
    """
    return _work(put) - _work(kept)


def _work(cost: NetworkCost) -> float:
    return sum(row.ms for row in cost.kernels if row.name != "launch")
