"""A network of two equal convolutions, and a tuning of it with the static runner."""

from __future__ import annotations

from typing import Any

import onnx
from graphs import onnx_model

from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.tuning.budget import Budget
from graphopt.tuning.databases import mark_tuned
from graphopt.tuning.engine import LocalEngine
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.tune import Plan, Planned, make_plan, open_database, tune
from graphopt.tuning.work import RunnerSpec
from graphopt.tuning.workload import Workloads, network_workloads

SPEC = RunnerSpec("static")


WEIGHTS = {"w": (8, 8, 3, 3), "b": (8,), "v": (8, 8, 3, 3)}


TEXT = """(float[1,8,24,32] x) => (float[1,8,24,32] y) {
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) r = Relu(a)
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(r, v, b) s = Relu(c) p = GlobalAveragePool(s) y = Mul(s, p) }"""


def network() -> onnx.ModelProto:
    return onnx_model(TEXT, WEIGHTS)


class Silent:
    """A watch that keeps what it hears."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.notes: list[str] = []
        self.ended = 0

    def planned(self, plan: Plan, loaded: Loaded) -> None: ...

    def done(self, job: Planned, records: Any, ended: bool) -> None:
        self.records += records
        self.ended += ended

    def note(self, line: str) -> None:
        self.notes.append(line)


def run(cache: CostCache, target: Target, trials: int) -> tuple[Workloads, Silent, Loaded]:
    """Tunes for a budget of trials, and marks the database as tuned."""
    workloads = network_workloads(network(), target, cache)
    found = open_database(cache.folder / "tuning", target, SPEC)
    watch = Silent()
    loaded = tune(workloads, make_plan(workloads, Budget(trials, "trials"), SPEC, 4), target, found, SPEC,
                  LocalEngine(), watch, 4)  # fmt: skip
    mark_tuned(found)
    return workloads, watch, loaded
