"""Tuning on this CPU: what is measured is measured, a crash costs one trial, and evolution goes on from earlier runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from graphs import onnx_model

from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.tuning import local
from graphopt.tuning.databases import TVM
from graphopt.tuning.job import GUIDED, Job, run_job
from graphopt.tuning.local import DEVICE, LocalRunner
from graphopt.tuning.records import Record
from graphopt.tuning.workload import network_workloads

TEXT = "(float[1,4,16,16] x) => (float[1,4,16,16] y) { a = Conv<kernel_shape=[1,1]>(x, w, b) y = Relu(a) }"


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("host-tvm")


@pytest.fixture(scope="module")
def workload(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = onnx_model(TEXT, {"w": (4, 4, 1, 1), "b": (4,)})
    return network_workloads(model, target, CostCache(tmp_path_factory.mktemp("prices"))).found[0]


def batches(workload: Any, target: Target, trials: int, count: int, earlier: list[Record]) -> list[Record]:
    runner = LocalRunner(target)
    records: list[Record] = []
    try:
        for number, batch in enumerate(run_job(Job(workload, target, "key", TVM, 4, trials, None), runner, earlier), 1):
            records += batch.records
            if number == count:
                break
    finally:
        runner.close()
    return records


@pytest.mark.slow
def test_evolution_starts_from_what_earlier_runs_have_found(workload: Any, target: Target) -> None:
    first = batches(workload, target, GUIDED, 1, [])
    assert {(r.provenance, r.device) for r in first} == {("measured", DEVICE)}
    assert any(0 < r.seconds < 1e-2 for r in first)
    second = batches(workload, target, GUIDED - 4, 2, first)
    assert len(second) == 8
    assert {json.dumps(r.trace) for r in second} - {json.dumps(r.trace) for r in first}
    assert all(0 < r.seconds < 1e-2 for r in second if r.run_secs)


def test_a_schedule_that_crashes_or_hangs_costs_one_trial(
    workload: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = local.time_here
    crash = lambda *arguments: __import__("os").abort()  # noqa: E731  # the worker cannot import a test's functions
    hang = lambda *arguments: __import__("time").sleep(600)  # noqa: E731
    calls = 0

    def sometimes(self: Any, function: Any, *arguments: Any, **options: Any) -> None:
        nonlocal calls
        if function is timed:
            calls += 1
            function = {1: crash, 2: hang}.get(calls, timed)
        send(self, function, *arguments, **options)

    from tvm.support.popen_pool import PopenWorker

    send = PopenWorker.send
    monkeypatch.setattr(PopenWorker, "send", sometimes)
    impatient = target.model_copy(update={"tuning": target.tuning.model_copy(update={"run_timeout_s": 1})})  # type: ignore[union-attr]
    records = batches(workload, impatient, 4, 4, [])
    assert [bool(record.run_secs) for record in records] == [False, False, True, True]
    assert "ChildProcessError" in records[0].error
    assert records[1].error == "ran longer than 1 s"


def test_the_logs_of_metaschedule_stay_silent(workload: Any, target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    assert batches(workload, target, 4, 1, [])
    assert capfd.readouterr() == ("", "")


def test_traces_survive_json(workload: Any, target: Target, tmp_path: Path) -> None:
    (record,) = batches(workload, target, 1, 1, [])[:1]
    assert json.loads(json.dumps(record.trace)) == record.trace
