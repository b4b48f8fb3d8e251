"""Static tuning: a space becomes jobs, jobs records, records prices; killed, resumed, and asked how far it is."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from graphs import onnx_model
from PIL import Image

from graphopt.backends.compiled import compile_network
from graphopt.backends.pricing import network_cost
from graphopt.cli.tune import bases, basis_ms
from graphopt.cost.cache import CostCache
from graphopt.cost.record import KernelCost
from graphopt.cost.target import Target, load_target
from graphopt.errors import GraphoptError
from graphopt.ir.registry import load_pass
from graphopt.ir.space_building import build_space
from graphopt.kernels import facts as kernel_facts
from graphopt.kernels.model import KernelFacts, price
from graphopt.tuning.budget import Budget
from graphopt.tuning.databases import TVM, database, mark_tuned
from graphopt.tuning.engine import LocalEngine
from graphopt.tuning.job import Job, run_job
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.static import StaticRunner
from graphopt.tuning.tune import Plan, Planned, make_plan, open_database, tune
from graphopt.tuning.work import RunnerSpec
from graphopt.tuning.workload import Workloads, network_workloads, space_workloads

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


@pytest.fixture(scope="module")
def phone() -> Target:
    return load_target("exynos2100-mali-g78")


@pytest.fixture
def cache(tmp_path: Path) -> CostCache:
    return CostCache(tmp_path / "costs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))


def run(cache: CostCache, target: Target, trials: int) -> tuple[Workloads, Silent, Loaded]:
    workloads = network_workloads(network(), target, cache)
    found = open_database(cache.folder / "tuning", target, SPEC)
    watch = Silent()
    loaded = tune(workloads, make_plan(workloads, Budget(trials, "trials"), SPEC, 4), target, found, SPEC,
                  LocalEngine(), watch, 4)  # fmt: skip
    mark_tuned(found)
    return workloads, watch, loaded


def test_two_kernels_of_one_shape_are_one_workload(phone: Target, shared: CostCache) -> None:
    workloads = network_workloads(network(), phone, shared)
    assert [w.name for w in workloads.found if "conv" in w.name] == ["fused_conv2d_add_relu"]
    assert len(workloads.found) == 2  # and the pool with the product
    convolution = next(w for w in workloads.found if "conv" in w.name)
    assert convolution.facts is not None
    one = price(KernelFacts.from_dict(convolution.facts), phone)[0]
    assert convolution.weight == pytest.approx(2 * one)
    assert [w.weight for w in workloads.found] == sorted((w.weight for w in workloads.found), reverse=True)


def test_a_space_brings_the_kernels_of_its_candidates(phone: Target, shared: CostCache) -> None:
    from graphs import nafnet

    graph = nafnet()
    passes = [load_pass("static-attention", {}, Path())]
    images = [np.random.default_rng(0).random((1, 3, 16, 16), np.float32)]
    space = build_space(graph, passes, images, [], lambda share, words: None)
    assert space.choices
    said: list[str] = []
    found = space_workloads(space, phone, [], shared, lambda share, words: said.append(words))
    from graphopt.ir.canonical import to_model

    base = network_workloads(to_model(space.graph), phone, shared)
    assert {w.key for w in base.found} < {w.key for w in found.found}
    assert "lowers static-attention" in said
    assert len({w.key for w in found.found}) == len(found.found)


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


def test_a_tuned_schedule_lowers_the_price_and_says_so(phone: Target, cache: CostCache) -> None:
    before = network_cost(network(), phone, cache)
    assert {row.basis for row in before.kernels} == {"model"}
    workload = next(w for w in network_workloads(network(), phone, cache).found if "conv" in w.name)
    found = database(cache.folder / "tuning", phone, "estimated")
    assert workload.facts is not None
    quicker = {**workload.facts, "flops": 0, "bytes_read": 1, "bytes_written": 1, "macs": 1}
    seconds = price(KernelFacts.from_dict(quicker), phone)[0] / 1e3
    base = Record(workload.key, found.target, TVM, "estimated", "kernel model", (seconds,), 0.1, [], quicker)
    found.append([base, replace(base, run_secs=(), facts=None, error="refused")])
    assert network_cost(network(), phone, cache) == before  # `graphopt tune` says when there is something new
    mark_tuned(found)
    after = network_cost(network(), phone, cache)
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
    assert network_cost(network(), phone, other) == before  # TVM's default schedule is better


def test_times_over_rpc_come_before_estimates(phone: Target, cache: CostCache) -> None:
    workloads = network_workloads(network(), phone, cache).found
    found = database(cache.folder / "tuning", phone, "measured", "shelf")
    base = Record("", found.target, TVM, "measured", "10.0.0.7:9090", (2e-3, 3e-3, 4e-3), 1.0, [])
    found.append([replace(base, workload=workloads[0].key)])
    mark_tuned(found)
    some = network_cost(network(), phone, cache)
    rows = {row.name: row for row in some.kernels}
    assert rows[workloads[0].name].basis == "measured"
    assert rows[workloads[0].name].ms == pytest.approx(3.0 * rows[workloads[0].name].calls)
    assert some.provenance == "estimated"  # the others are
    found.append([replace(base, workload=w.key) for w in workloads[1:]])
    mark_tuned(found)
    every = network_cost(network(), phone, cache)
    calls = sum(row.calls for row in every.kernels)
    assert every.provenance == "measured"
    assert (every.low_ms, every.latency_ms, every.high_ms) == pytest.approx((2 * calls, 3 * calls, 4 * calls))


def test_measured_schedules_are_compiled(phone: Target, cache: CostCache, tmp_path: Path) -> None:
    workload = next(w for w in network_workloads(network(), phone, cache).found if "conv" in w.name)
    (batch,) = run_job(Job(workload, phone, "key", TVM, 1, 1, None), StaticRunner(phone), [])
    found = database(cache.folder / "tuning", phone, "measured", "shelf")
    made = batch.records[0]
    plain = compile_network(network(), phone, tmp_path / "plain", cache)[0].read_text()
    found.append([replace(made, target=found.target, provenance="measured", device="10.0.0.7:9090")])
    tuned = compile_network(network(), phone, tmp_path / "tuned", cache)[0].read_text()
    assert made.facts is not None
    assert made.facts["local_memory_bytes"] > 0  # MetaSchedule's tiles go through local memory, the default ones do not
    assert tuned.count("__local") > plain.count("__local")


def test_a_kernel_that_tvm_cannot_compile_is_priced_by_its_parts(
    phone: Target, cache: CostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = network_cost(network(), phone, cache)
    other = CostCache(cache.folder.parent / "other")
    monkeypatch.setattr(kernel_facts, "scheduled", _refusing(kernel_facts.scheduled))
    workloads = network_workloads(network(), phone, other)
    parts = network_cost(network(), phone, other)
    assert list(workloads.refused) == ["fused_conv2d_add_relu"]
    assert "kernel fused_conv2d_add_relu: TVM finds no GPU schedule" in workloads.refused["fused_conv2d_add_relu"]
    marked = [row for row in parts.kernels if row.basis == "parts"]
    assert [row.name for row in marked] == [f"fused_conv2d_add_relu/{part}" for part in ("conv2d", "add", "relu")]
    assert {row.calls for row in marked} == {2}
    assert parts.latency_ms > whole.latency_ms
    assert parts.macs == whole.macs == sum(row.macs for row in parts.kernels)


def _refusing(scheduled: Any) -> Any:
    def refuse(function: Any, rule: Any, target: Any) -> Any:
        if "conv2d" in str(function) and "T.max" in str(function):
            raise RuntimeError("cannot schedule a clamp after a convolution")
        return scheduled(function, rule, target)

    return refuse


def test_a_kernel_that_metaschedule_cannot_schedule_is_one_failed_record(phone: Target, shared: CostCache) -> None:
    workload = network_workloads(network(), phone, shared).found[0]
    broken = replace(workload, module="{}")
    (batch,) = run_job(Job(broken, phone, "key", TVM, 4, 8, None), StaticRunner(phone), [])
    (record,) = batch.records
    assert record.run_secs == ()
    assert record.trace is None
    assert record.error.startswith("MetaSchedule cannot schedule this kernel: ")


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


def test_the_static_runner_needs_a_kernel_model() -> None:
    with pytest.raises(GraphoptError, match="host-cpu has no kernel model: use --runner local"):
        StaticRunner(load_target("host-cpu"))


def test_what_a_price_rests_on_is_said() -> None:
    row = KernelCost("a", "conv", 1, 1.0, 1, 1, 1)
    assert bases([row]) == []
    assert basis_ms([row]) == {}
    others = [
        replace(row, name="measured/x", basis="measured"),
        replace(row, name="tuned/x", basis="tuned"),
        replace(row, name="parts/x", basis="parts"),
    ]
    assert basis_ms([row, *others]) == {"measured": 1, "tuned": 1, "model": 1, "parts": 1}
    assert bases([row, *others]) == [
        "1.000 ms measured over RPC, 1.000 ms estimated of tuned schedules, 1.000 ms estimated of TVM's default "
        "schedules, 1.000 ms estimated of their parts, because TVM cannot compile them whole",
        "priced by parts: parts/x",
    ]


# the command line


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline over a small ONNX network, and the cache that all these tests share."""
    folder = tmp_path_factory.mktemp("home")
    text = """(float[1,3,32,32] x) => (float[1,3,32,32] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(a, g, b)
        p = ReduceMean<keepdims=1>(d, axes) k = Conv<kernel_shape=[1,1]>(p, c, b) m = Mul(d, k)
        r = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(m, u, t) y = Add(r, x) }"""
    weights = {"w": (8, 3, 3, 3), "b": (8,), "g": (8, 1, 3, 3), "axes": np.array([2, 3]), "c": (8, 8, 1, 1),
               "u": (3, 8, 3, 3), "t": (3,)}  # fmt: skip
    onnx.save(onnx_model(text, weights), folder / "small.onnx")
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(5).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "0.png")
    config = {
        "model": "small.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "calibration_images": 1},
        "passes": ["static-attention"],
        "targets": {"exynos2100-mali-g78": 1},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def graphopt(home: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GRAPHOPT_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)
    return lambda *arguments: call("tune", "small.yaml", "--target", "exynos2100-mali-g78", *arguments)


def test_tune_status_and_tune_again(graphopt: Any, home: Path) -> None:
    status, _, said = graphopt("--status")
    assert (status, said.count("\n")) == (1, 1)
    assert "no tuning of small.yaml for exynos2100-mali-g78 with --runner static has been started" in said
    status, out, said = graphopt("--budget", "24 trials")
    assert status == 0, said
    assert "24 trials of" in out
    assert "(24 new), estimated" in out
    records = home / "cache/costs/tuning/estimated/exynos2100-mali-g78/records.jsonl"
    assert len(records.read_text().splitlines()) == 24
    status, out, said = graphopt("--budget", "24 trials")
    assert (status, "nothing to do: all of them were there" in out) == (0, True)
    status, out, said = graphopt("--status", "--json")
    shown = json.loads(out)
    assert (status, shown["budget"], shown["runner"]) == (0, "24 trials", "static")
    assert sum(int(row["trials"].partition("/")[0]) for row in shown["jobs"]) == 24
    assert {row["state"] for row in shown["jobs"]} == {"done", "no share"}
    assert {row["provenance"] for row in shown["jobs"]} == {"estimated"}
    assert all(float(row["best us"]) > 0 for row in shown["jobs"] if row["state"] == "done")
    status, out, _ = graphopt("--status")
    assert "24 trials with the static runner:" in out
    assert out.rstrip().endswith("not at work")


def test_a_killed_tuning_loses_nothing_and_goes_on(home: Path, graphopt: Any) -> None:
    records = home / "cache/costs/tuning/estimated/sm8650-adreno750/records.jsonl"
    adreno = ("--target", "sm8650-adreno750")
    command = [sys.executable, "-m", "graphopt.cli", "tune", "small.yaml", *adreno, "--budget", "100000 trials"]
    environment = {**os.environ, "GRAPHOPT_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE) as running:
        began = time.monotonic()
        while not records.exists() or records.read_bytes().count(b"\n") < 16:
            assert running.poll() is None
            assert time.monotonic() - began < 120
            time.sleep(0.1)
        status, _, said = graphopt(*adreno)
        assert status == 1
        assert "is in use by another graphopt tune" in said
        running.send_signal(signal.SIGKILL)
    kept = records.read_bytes().count(b"\n")
    assert kept >= 16
    _, out, _ = graphopt(*adreno, "--status", "--json")
    rows = json.loads(out)["jobs"]
    assert sum(int(row["trials"].partition("/")[0]) for row in rows) == kept
    assert "stopped" in {row["state"] for row in rows}
    status, _, said = graphopt(*adreno, "--budget", f"{kept + 8} trials")
    assert status == 0, said
    assert 0 < records.read_bytes().count(b"\n") - kept <= kept + 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "many"), "budget 'many': expected a number of trials or of minutes"),
        (("--runner", "statik"), "runner 'statik' is not known; did you mean 'static'?"),
        (("--runner", "rpc"), "--runner rpc needs --tracker HOST:PORT and --key KEY"),
        (("--tracker", "localhost", "--key", "phone"), "--tracker 'localhost': expected HOST:PORT"),
        (("--tracker", "127.0.0.1:9", "--key", "phone"), "no TVM RPC tracker answers at 127.0.0.1:9"),
        (("--key", "phone"), "--tracker and --key belong to --runner rpc, not to static"),
        (("--runner", "local"), "exynos2100-mali-g78 is not this host: use --runner static"),
        (("--target", "sm8650-hexagon"), "sm8650-hexagon: its own compiler schedules the network"),
        (("--engine", "spark"), "engine 'spark' is not known; known: local, ray"),
    ],
)
def test_mistakes_are_one_line(graphopt: Any, arguments: tuple[str, ...], message: str) -> None:
    status, out, said = graphopt(*arguments)
    assert (status, out, said.count("\n")) == (1, "", 1)
    assert message in said


def test_a_full_disk_stops_the_tuning_with_one_line(graphopt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.fsync

    def full(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("records.jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    status, out, said = graphopt("--budget", "1000 trials")
    assert (status, out) == (1, "")
    assert said.splitlines()[-1].endswith(
        "the disk is full; all earlier trials are kept, and the same command goes on from there"
    )
    assert "Traceback" not in said
