"""Static trials: the price by the kernel model of what is launched."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tuned_network import network

from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.kernels.model import KernelFacts, price
from graphopt.tuning.databases import TVM
from graphopt.tuning.job import Job, run_job
from graphopt.tuning.static import StaticRunner
from graphopt.tuning.workload import network_workloads


def test_static_trials_are_the_kernel_models_price_of_what_is_launched(phone: Target, shared: CostCache) -> None:
    workload = next(w for w in network_workloads(network(), phone, shared).found if "conv" in w.name)
    job = Job(workload, phone, "key", TVM, 4, 8, None)
    batches = list(run_job(job, StaticRunner(phone), []))
    records = [record for batch in batches for record in batch.records]
    assert [len(batch.records) for batch in batches] == [4, 4]
    assert {(r.provenance, r.device, r.workload) for r in records} == {("estimated", "kernel model", workload.key)}
    assert workload.facts is not None
    for record in records:
        assert record.facts is not None, record.error
        facts = KernelFacts.from_dict(record.facts)
        assert record.seconds == price(facts, phone)[0] / 1e3
        assert (facts.macs, facts.bytes_read) == (workload.facts["macs"], workload.facts["bytes_read"])
        assert facts.threads % phone.fact("wave_size") == 0 or facts.threads >= phone.fact("wave_size")
        assert facts.local_memory_bytes <= phone.fact("local_memory")
    assert len({json.dumps(record.trace) for record in records}) > 4  # schedules differ
    json.dumps([record.trace for record in records])


def test_a_kernel_that_metaschedule_cannot_schedule_is_one_failed_record(phone: Target, shared: CostCache) -> None:
    workload = network_workloads(network(), phone, shared).found[0]
    broken = replace(workload, module="{}")
    (batch,) = run_job(Job(broken, phone, "key", TVM, 4, 8, None), StaticRunner(phone), [])
    (record,) = batch.records
    assert record.run_secs == ()
    assert record.trace is None
    assert record.error.startswith("MetaSchedule cannot schedule this kernel: ")


def test_the_static_runner_needs_a_kernel_model() -> None:
    with pytest.raises(GraphoptError, match="host-tvm has no kernel model: use --runner local"):
        StaticRunner(load_target("host-tvm"))
