"""The static runner: no device. Each schedule is lowered, and the kernel model prices what it would launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError, last_line
from graphopt.kernels.model import KernelFacts, price
from graphopt.kernels.target import GpuTarget, TvmTarget
from graphopt.tuning.job import Outcome
from graphopt.tuning.workload import Workload


class StaticRunner:
    """Estimates: 1e-3 x `kernels.model.price` of the workload's facts with the launch of each schedule."""

    provenance: Provenance = "estimated"

    def __init__(self, target: TvmTarget):
        from graphopt.kernels.lowering import tvm_target

        if not isinstance(target, GpuTarget):
            raise GraphoptError(f"target {target.name} has no kernel model: use --runner local, or rpc with a tracker")
        self._target, self._device = target, tvm_target(target)

    def measure(self, schedules: Sequence[Any], workload: Workload) -> list[Outcome]:
        if workload.facts is None:
            raise GraphoptError(f"workload {workload.name}: no facts to price it by")
        return [self._price(schedule, KernelFacts.from_dict(workload.facts)) for schedule in schedules]

    def _price(self, schedule: Any, facts: KernelFacts) -> Outcome:
        from graphopt.kernels.facts import launched

        try:
            facts = launched(facts, schedule.mod["main"], self._device)
            return Outcome((price(facts, self._target)[0] / 1e3,), "kernel model", facts=facts.to_dict())
        except (GraphoptError, RuntimeError, ValueError) as error:  # a schedule that TVM or the device refuses
            return Outcome((), "kernel model", last_line(error))

    def notes(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        pass
