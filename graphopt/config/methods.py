"""The methods of search: where each stands, and which options of `search:` it reads that not all others do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodEntry:
    """`place` is a class in `graphopt.search`. `options` of `objective` are dotted."""

    place: str
    options: tuple[str, ...] = ()


_TRIALS = ("contenders", "spread")
_MIXTURE = (
    "warm_up_steps", "settle", "choice_learning_rate", "temperature", "latency_weight", "objective.targets",
    "objective.memory_weight", "objective.parameter_weight",
)  # fmt: skip
_JUDGED = ("warm_up_steps", "evaluations")

METHODS = {
    "entropy": MethodEntry("entropy:Entropy", _TRIALS),
    "entropy-sites": MethodEntry("sites:Sites", (*_MIXTURE, "sensitivity", "sensitivity_start", "entropy")),
    "halving": MethodEntry("rivals.halving:Halving", _TRIALS),
    "darts": MethodEntry("rivals.darts:Darts", _MIXTURE),
    "gumbel": MethodEntry("rivals.gumbel:Gumbel", _MIXTURE),
    "proxyless": MethodEntry("rivals.proxyless:Proxyless", _MIXTURE),
    "milp": MethodEntry("rivals.milp:IntegerProgramme"),
    "greedy": MethodEntry("rivals.greedy:Greedy"),
    "evolution": MethodEntry("rivals.evolution:Evolution", _JUDGED),
    "random": MethodEntry("rivals.random:Random", _JUDGED),
}


def readers(option: str) -> list[str]:
    """The methods that read an option: all of them, unless some list it as theirs."""
    some = [name for name, entry in METHODS.items() if option in entry.options]
    return some or list(METHODS)
