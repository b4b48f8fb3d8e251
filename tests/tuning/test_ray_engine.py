"""The Ray engine: the same jobs and database, on a local Ray of two workers."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import onnx_model

from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.tuning.budget import Budget
from graphopt.tuning.engine import LocalEngine, find_engine
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.tune import Plan, Planned, make_plan, open_database, tune
from graphopt.tuning.work import RunnerSpec
from graphopt.tuning.workload import network_workloads

SPEC = RunnerSpec("static")
TEXT = """(float[1,8,16,16] x) => (float[1,8,16,16] y) {
    a = Conv<kernel_shape=[1,1]>(x, w) m = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a) s = Sigmoid(m)
    y = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(s, v) }"""
WEIGHTS = {"w": (8, 8, 1, 1), "v": (8, 1, 3, 3)}


class Watch:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ended: list[str] = []

    def planned(self, plan: Plan, loaded: Loaded) -> None: ...

    def done(self, job: Planned, records: Any, ended: bool) -> None:
        self.records += records
        if ended:
            self.ended.append(job.key)

    def note(self, line: str) -> None:
        raise AssertionError(line)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="pip install 'graphopt[ray]'")
    root = Path(__file__).parents[2]
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}},
    )  # fmt: skip
    yield
    ray.shutdown()


def test_jobs_run_on_both_workers_into_the_same_database(two_workers: None, tmp_path: Path) -> None:
    target, cache = load_target("exynos2100-mali-g78"), CostCache(tmp_path)
    engine = find_engine("ray")
    assert engine.workers == 2
    workloads = network_workloads(onnx_model(TEXT, WEIGHTS), target, cache)
    found = open_database(cache.folder / "tuning", target, SPEC)
    plan = make_plan(workloads, Budget(24, "trials"), SPEC, 4)
    watch = Watch()
    tune(workloads, plan, target, found, SPEC, engine, watch, 4)
    assert len(watch.records) == 24
    assert sorted(watch.ended) == sorted(job.key for job in plan.jobs if job.share)
    on_disk = found.load()
    assert {job.key: on_disk.trials(job.key) for job in plan.jobs} == {job.key: job.share for job in plan.jobs}
    again = Watch()
    tune(workloads, plan, target, found, SPEC, LocalEngine(), again, 4)  # the other engine finds everything done
    assert again.records == []


def test_what_a_worker_refuses_is_said_in_one_line(two_workers: None, tmp_path: Path) -> None:
    target, cache = load_target("exynos2100-mali-g78"), CostCache(tmp_path)
    workloads = network_workloads(onnx_model(TEXT, WEIGHTS), target, cache)
    spec = RunnerSpec("rpc", ("127.0.0.1", 9), "phone")
    plan = make_plan(workloads, Budget(4, "trials"), spec, 4)
    found = open_database(cache.folder / "tuning", target, spec)
    with pytest.raises(GraphoptError, match=r"no TVM RPC tracker answers at 127\.0\.0\.1:9") as caught:
        tune(workloads, plan, target, found, spec, find_engine("ray"), Watch(), 4)
    assert "\n" not in str(caught.value)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(GraphoptError, match=r"--engine ray needs Ray: pip install 'graphopt\[ray\]'"):
        find_engine("ray")
