"""GPU schedules that static tuning draws, to be built and checked instead of TVM's default ones."""

from __future__ import annotations

import onnx

from graphopt.cost.cache import CostCache
from graphopt.kernels.keys import target_key
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress
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
