"""A schedule from disk gives the kernel that was priced, and is what is compiled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tuned_network import network

from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.kernels.model import KernelFacts
from graphopt.tuning.databases import TVM, database
from graphopt.tuning.job import Job, run_job
from graphopt.tuning.records import Record
from graphopt.tuning.static import StaticRunner
from graphopt.tuning.workload import network_workloads


def test_a_trace_from_disk_gives_the_kernel_that_was_priced(phone: Target, shared: CostCache) -> None:
    from graphopt.kernels.calls import network_calls, workload_key
    from graphopt.kernels.facts import launched
    from graphopt.kernels.lowering import tvm_target
    from graphopt.tuning.apply import scheduled_by

    workload = next(w for w in network_workloads(network(), phone, shared).found if "conv" in w.name)
    (batch,) = run_job(Job(workload, phone, "key", TVM, 2, 2, None), StaticRunner(phone), [])
    record = Record(**json.loads(json.dumps(batch.records[0].__dict__)))
    call = next(c for c in network_calls(network(), phone, shared) if workload_key(c.function) == workload.key)
    made = scheduled_by(record, call.function)
    assert workload.facts is not None
    assert record.facts is not None
    assert launched(KernelFacts.from_dict(workload.facts), made, tvm_target(phone)).to_dict() == record.facts


def test_measured_schedules_are_compiled(phone: Target, cache: CostCache, tmp_path: Path) -> None:
    workload = next(w for w in network_workloads(network(), phone, cache).found if "conv" in w.name)
    (batch,) = run_job(Job(workload, phone, "key", TVM, 1, 1, None), StaticRunner(phone), [])
    found = database(cache.folder / "tuning", phone, "measured", "shelf")
    made = batch.records[0]
    plain = open_backend(phone, cache).build(network(), tmp_path).files[1].read_text()
    found.append([replace(made, target=found.target, provenance="measured", device="10.0.0.7:9090")])
    tuned = open_backend(phone, cache).build(network(), tmp_path).files[1].read_text()
    assert made.facts is not None
    assert made.facts["local_memory_bytes"] > 0  # MetaSchedule's tiles go through local memory, the default ones do not
    assert tuned.count("__local") > plain.count("__local")
