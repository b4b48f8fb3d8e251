"""Tuning goes on where it stopped, and spends its budget."""

from __future__ import annotations

import json
import time

import pytest
from tuned_network import SPEC, Silent, network, run

from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.tuning.budget import Budget
from graphopt.tuning.engine import LocalEngine
from graphopt.tuning.tune import make_plan, open_database, tune
from graphopt.tuning.workload import network_workloads


def test_a_second_run_has_nothing_to_do_and_a_larger_budget_goes_on(phone: Target, cache: CostCache) -> None:
    workloads, first, loaded = run(cache, phone, 12)
    assert len(first.records) == 12
    again = run(cache, phone, 12)[1]
    assert again.records == []
    more = run(cache, phone, 20)[1]
    assert len(more.records) == 8
    total = open_database(cache.folder / "tuning", phone, SPEC).load()
    assert sum(total.trials(w.key) for w in workloads.found) == 20
    assert total.records != loaded.records
    traces = [json.dumps(record.trace) for record in total.records[workloads.found[0].key]]
    assert len(set(traces)) > len(traces) / 2  # the second run does not draw the first one's schedules again


def test_a_budget_in_minutes_is_one_of_time(phone: Target, cache: CostCache) -> None:
    workloads = network_workloads(network(), phone, cache)
    found = open_database(cache.folder / "tuning", phone, SPEC)
    plan = make_plan(workloads, Budget(2 / 60, "minutes"), SPEC, 2)
    assert sum(job.share for job in plan.jobs) == pytest.approx(2)
    watch, began = Silent(), time.monotonic()
    tune(workloads, plan, phone, found, SPEC, LocalEngine(), watch, 2)
    assert time.monotonic() - began < 20
    assert watch.records
    for _ in range(10):  # each run may start late, and what it has not spent is left
        again = Silent()
        tune(workloads, plan, phone, found, SPEC, LocalEngine(), again, 2)
        if not again.records:
            break
    assert again.records == []
    loaded = found.load()
    for job in plan.jobs:
        spent = [record.spent_s for record in loaded.records.get(job.key, [])]
        assert sum(spent[:-2]) < job.share  # over by less than the last batch
        assert sum(spent) > 0.8 * job.share
