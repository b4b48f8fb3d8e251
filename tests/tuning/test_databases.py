"""What the databases hold changes prices: measured times first, then schedules that beat the default."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tuned_network import network

from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.kernels.model import KernelFacts, price
from graphopt.tuning.databases import TVM, database, mark_tuned
from graphopt.tuning.records import Record
from graphopt.tuning.workload import network_workloads


def test_a_tuned_schedule_lowers_the_price_and_says_so(phone: Target, cache: CostCache) -> None:
    before = open_backend(phone, cache).price(network())
    assert {row.basis for row in before.kernels} == {"model"}
    workload = next(w for w in network_workloads(network(), phone, cache).found if "conv" in w.name)
    found = database(cache.folder / "tuning", phone, "estimated")
    assert workload.facts is not None
    quicker = {**workload.facts, "flops": 0, "bytes_read": 1, "bytes_written": 1, "macs": 1}
    seconds = price(KernelFacts.from_dict(quicker), phone)[0] / 1e3
    base = Record(workload.key, found.target, TVM, "estimated", "kernel model", (seconds,), 0.1, [], quicker)
    found.append([base, replace(base, run_secs=(), facts=None, error="refused")])
    assert open_backend(phone, cache).price(network()) == before  # `graphopt tune` says when there is something new
    mark_tuned(found)
    after = open_backend(phone, cache).price(network())
    assert after.provenance == "estimated"
    rows = {row.name: row for row in after.kernels}
    assert rows[workload.name].basis == "tuned"
    assert rows[workload.name].ms == pytest.approx(2e3 * seconds)
    assert after.latency_ms < before.latency_ms
    slower = replace(base, run_secs=(1.0,))
    other = CostCache(cache.folder.parent / "other")
    elsewhere = database(other.folder / "tuning", phone, "estimated")
    elsewhere.append([slower])
    mark_tuned(elsewhere)
    assert open_backend(phone, other).price(network()) == before  # TVM's default schedule is better


def test_times_over_rpc_come_before_estimates(phone: Target, cache: CostCache) -> None:
    workloads = network_workloads(network(), phone, cache).found
    found = database(cache.folder / "tuning", phone, "measured", "shelf")
    base = Record("", found.target, TVM, "measured", "10.0.0.7:9090", (2e-3, 3e-3, 4e-3), 1.0, [])
    found.append([replace(base, workload=workloads[0].key)])
    mark_tuned(found)
    some = open_backend(phone, cache).price(network())
    rows = {row.name: row for row in some.kernels}
    assert rows[workloads[0].name].basis == "measured"
    assert rows[workloads[0].name].ms == pytest.approx(3.0 * rows[workloads[0].name].calls)
    assert some.provenance == "estimated"  # the others are
    found.append([replace(base, workload=w.key) for w in workloads[1:]])
    mark_tuned(found)
    every = open_backend(phone, cache).price(network())
    calls = sum(row.calls for row in every.kernels)
    assert every.provenance == "measured"
    assert (every.low_ms, every.latency_ms, every.high_ms) == pytest.approx((2 * calls, 3 * calls, 4 * calls))
