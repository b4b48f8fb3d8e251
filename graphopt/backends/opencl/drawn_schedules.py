"""The GPU schedules whose kernels are checked: TVM's default ones, or the best that static tuning draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from tvm import tirx

from graphopt.cost.cache import CostCache
from graphopt.kernels.calls import workload_key
from graphopt.kernels.facts import kernel_kind, lower
from graphopt.kernels.keys import target_key
from graphopt.kernels.lowering import tvm_target
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress
from graphopt.tuning.apply import scheduled_by
from graphopt.tuning.databases import TVM
from graphopt.tuning.job import Job, run_job
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.static import StaticRunner
from graphopt.tuning.workload import network_workloads


def drawn_records(
    model: onnx.ModelProto, target: GpuTarget, trials: int, cache: CostCache, say: Progress
) -> dict[str, Record]:
    """By workload, the best of `trials` schedules that static tuning draws; nothing where none can be lowered."""
    loaded = Loaded()
    workloads = network_workloads(model, target, cache).found
    runner = StaticRunner(target)
    for done, workload in enumerate(workloads):
        say(done / len(workloads), f"draws {trials} schedules of {workload.name}")
        for batch in run_job(Job(workload, target, target_key(target), TVM, trials, trials, None), runner, []):
            loaded.add(batch.records)
    best = {workload.key: loaded.best(workload.key) for workload in workloads}
    return {key: record for key, record in best.items() if record is not None}


def gpu_schedule(name: str, function: tirx.PrimFunc, target: GpuTarget, records: Mapping[str, Record]) -> Any:
    """The kernel under the schedule of its record, or else under TVM's default one."""
    record = records.get(workload_key(function))
    if record is not None:
        return scheduled_by(record, function)
    return lower(name, function, kernel_kind(function), tvm_target(target))[0]
