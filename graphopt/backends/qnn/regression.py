"""The NPU's regression: milliseconds of a network from what its compiler says. Calibrated on latencies of phones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from graphopt.backends.qnn.log import CompiledFacts
from graphopt.backends.qnn.target import NpuTarget
from graphopt.cost.record import KernelCost, NetworkCost

REFUSED = "refused"  # the kind of a row of the breakdown that names an op that the NPU does not carry
_TERM = "npu"
FORMULA = 5  # part of the key of every cached price: raise it whenever `price`, or what is compiled, changes


@dataclass(frozen=True)
class Features:
    """What the regression knows of a network: graphs to launch, GMAC as the NPU pads them, megabytes over DDR
    (`spilled`: those that did not fit into the on-chip memory, `megabytes`: all others), supertiles.
    """

    graphs: float
    gmac: float
    megabytes: float
    spilled: float
    supertiles: float

    @classmethod
    def of(cls, facts: CompiledFacts, macs: int) -> Features:
        moved, spilled = facts.read_bytes + facts.written_bytes, facts.spilled_bytes + facts.filled_bytes
        return cls(facts.graphs, macs / 1e9, (moved - spilled) / 1e6, spilled / 1e6, facts.supertiles)

    @classmethod
    def of_price(cls, cost: NetworkCost) -> Features:
        """Back from the breakdown of a price."""
        rows = {row.name: row for row in cost.kernels if row.kind == _TERM}
        moved, spilled = ((rows[name].bytes_read + rows[name].bytes_written) / 1e6 for name in ("memory", "spills"))
        return cls(rows["launch"].calls, rows["arithmetic"].macs / 1e9, moved, spilled, rows["supertiles"].calls)


def terms(features: Features, target: NpuTarget) -> dict[str, float]:
    """Milliseconds that each term adds: graphs x `launch` + GMAC x `per_gmac` + megabytes over DDR, spills among them,
    x `per_megabyte` + supertiles ^ `supertile_exponent` x `per_supertile`.
    """
    model = target.npu_model
    return {
        "launch": features.graphs * model.launch.value,
        "arithmetic": features.gmac * model.per_gmac.value,
        "memory": features.megabytes * model.per_megabyte.value,
        "spills": features.spilled * model.per_megabyte.value,
        "supertiles": features.supertiles**model.supertile_exponent.value * model.per_supertile.value,
    }


def price(facts: CompiledFacts, macs: int, target: NpuTarget) -> tuple[float, float, float]:
    """Milliseconds: middle (the sum of `terms`), low, high. `macs` are those of `padding.padded_macs`.

    The bounds divide and multiply by `spread`, and by `spread_beyond` for a network with more supertiles than any
    that the regression was calibrated on (`calibrated_supertiles`).
    """
    model = target.npu_model
    latency = sum(terms(Features.of(facts, macs), target).values())
    beyond = facts.supertiles > model.calibrated_supertiles.value
    spread = (model.spread_beyond if beyond else model.spread).value
    return latency, latency / spread, latency * spread


def exchanged_ms(whole: NetworkCost, kept: NetworkCost, put: NetworkCost, target: NpuTarget) -> float:
    """Milliseconds that `whole` takes more where its part `kept` gives way to `put`, all three priced on `target`.

    Price(whole - kept + put) - price(whole), over their features. The difference of the parts' own prices would be too
    large: the price is not linear in supertiles, and in a part each of them costs more than in the whole. The whole
    keeps its spills: what a part spills when it is compiled alone says little of what it does among the others.
    """
    base, before, after = (asdict(Features.of_price(cost)) for cost in (whole, kept, put))
    before["spilled"] = after["spilled"] = 0.0
    changed = Features(**{name: max(0.0, count - before[name] + after[name]) for name, count in base.items()})
    return sum(terms(changed, target).values()) - sum(terms(Features(**base), target).values())


def breakdown(facts: CompiledFacts, macs: int, target: NpuTarget) -> tuple[KernelCost, ...]:
    """The terms of the price; then the ops that the NPU refuses, which are not priced."""
    ms = terms(Features.of(facts, macs), target)
    return (
        KernelCost("launch", _TERM, facts.graphs, ms["launch"], 0, 0, 0),
        KernelCost("arithmetic", _TERM, facts.graphs, ms["arithmetic"], macs, 0, 0),
        KernelCost(
            "memory",
            _TERM,
            facts.graphs,
            ms["memory"],
            0,
            facts.read_bytes - facts.filled_bytes,
            facts.written_bytes - facts.spilled_bytes,
        ),
        KernelCost("spills", _TERM, facts.graphs, ms["spills"], 0, facts.filled_bytes, facts.spilled_bytes),
        KernelCost("supertiles", _TERM, facts.supertiles, ms["supertiles"], 0, 0, 0),
        *(KernelCost(name, REFUSED, 1, 0.0, 0, 0, 0) for name in facts.refused),
    )
