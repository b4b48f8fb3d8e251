"""Workloads: the distinct kernels of a network, or of a network and all candidates of its choices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from graphopt.cost.cache import CostCache
from graphopt.cost.contexts import candidate_contexts
from graphopt.errors import GraphoptError
from graphopt.ir.passes import Pass
from graphopt.ir.space import Space
from graphopt.kernels.calls import kernel_facts, network_calls, workload_key
from graphopt.kernels.target import GpuTarget, TvmTarget
from graphopt.progress import Progress


@dataclass(frozen=True)
class Workload:
    """A fused kernel to tune: `key` is its structural hash, `module` TVM's JSON of it.

    `weight` is its share of the work in the network: calls x milliseconds by the kernel model, or calls x FLOPs for a
    CPU, which has none. `facts` are those of TVM's default schedule, None for a CPU.
    """

    key: str
    name: str
    weight: float
    module: str
    facts: dict[str, Any] | None


@dataclass(frozen=True)
class Workloads:
    """The heaviest first. `refused`: kernels that TVM cannot compile for the target, and why."""

    found: list[Workload]
    refused: dict[str, str]


def space_workloads(
    space: Space, target: TvmTarget, cleanups: Sequence[Pass], cache: CostCache, say: Progress
) -> Workloads:
    """The distinct kernels of the network and of every candidate in its context, the heaviest first.

    A kernel counts as often as the network calls it, or would call it where a candidate that needs it stood at all of
    that candidate's sites.
    """
    from graphopt.ir.canonical import to_model

    base = network_calls(to_model(space.graph), target, cache)
    counts: dict[str, Counter[str]] = {"": Counter()}
    functions: dict[str, Any] = {}
    for call in base:
        _count(call, counts[""], functions)
    for context in candidate_contexts(space, cleanups):
        say(context.share, f"lowers {context.option}")
        tally = counts.setdefault(context.option, Counter())
        for call in network_calls(context.model, target, cache):
            _count(call, tally, functions)
    most = {key: max(tally[key] for tally in counts.values()) for key in functions}
    return _workloads([(functions[key], most[key]) for key in functions], target, cache)


def network_workloads(model: onnx.ModelProto, target: TvmTarget, cache: CostCache) -> Workloads:
    """The distinct kernels of one network, the heaviest first."""
    tally: Counter[str] = Counter()
    functions: dict[str, Any] = {}
    for call in network_calls(model, target, cache):
        _count(call, tally, functions)
    return _workloads([(call, tally[key]) for key, call in functions.items()], target, cache)


def _count(call: Any, tally: Counter[str], functions: dict[str, Any]) -> None:
    key = workload_key(call.function)
    tally[key] += call.calls
    functions.setdefault(key, call)


def _workloads(found: list[tuple[Any, int]], target: TvmTarget, cache: CostCache) -> Workloads:
    import tvm
    from tvm.s_tir import analysis

    from graphopt.kernels.model import price

    made, refused = [], {}
    for call, calls in found:
        module = tvm.IRModule({"main": call.function.with_attr("global_symbol", "main")})
        facts = None
        if not isinstance(target, GpuTarget):
            weight = calls * float(analysis.estimate_tir_flops(tvm.IRModule({"main": call.function})))
        else:
            try:
                facts = kernel_facts(call, target, cache)
            except GraphoptError as error:
                refused[call.name] = str(error)
                continue
            weight = calls * price(facts, target)[0]
        key = workload_key(call.function)
        made.append(Workload(key, call.name, weight, tvm.ir.save_json(module), facts.to_dict() if facts else None))
    return Workloads(sorted(made, key=lambda workload: (-workload.weight, workload.key)), refused)
