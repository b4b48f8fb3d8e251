"""Tuning on devices behind a real TVM RPC tracker: two real servers on loopback, and devices that do not behave."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
from graphs import onnx_model

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.tuning.budget import Budget
from graphopt.tuning.databases import TVM
from graphopt.tuning.engine import LocalEngine
from graphopt.tuning.job import Job, run_job
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.rpc import RpcRunner
from graphopt.tuning.tracker import NoTrackerError, devices
from graphopt.tuning.tune import Plan, Planned, make_plan, open_database, tune
from graphopt.tuning.work import RunnerSpec
from graphopt.tuning.workload import network_workloads

TEXT = "(float[1,4,16,16] x) => (float[1,4,16,16] y) { a = Conv<kernel_shape=[1,1]>(x, w, b) y = Relu(a) }"


def network() -> onnx.ModelProto:
    return onnx_model(TEXT, {"w": (4, 4, 1, 1), "b": (4,)})


def start(module: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A process group of its own: a server works in children, which a kill must reach."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, **quiet, env=environment, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(what: Callable[[], bool], seconds: float = 90) -> None:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)


def free_port(first: int) -> int:
    """A free port below those that the system gives to whoever connects: one of them may be gone by the time."""
    for port in range(first, first + 1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError(f"no port is free from {first} on")


class Phones:
    """A tracker and two servers with the key `phone`."""

    def __init__(self) -> None:
        port = free_port(10000 + os.getpid() * 50 % 20000)
        self.address = ("127.0.0.1", port)
        self.tracker = start("tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", port, "--port-end", port + 1)
        where = ("--tracker", f"127.0.0.1:{port}", "--key", "phone", "--host", "127.0.0.1")
        self.servers = [
            start("tvm.exec.rpc_server", *where, "--port", first, "--port-end", first + 20)
            for first in (port + 10, port + 30)
        ]
        try:
            wait_for(lambda: len(self.devices()) == 2)
        except BaseException:
            self.stop()
            raise

    def devices(self) -> list[str]:
        try:
            return devices(self.address, "phone")
        except NoTrackerError:
            return []

    def stop(self) -> None:
        for process in (*self.servers, self.tracker):
            kill(process)


@pytest.fixture(scope="module")
def phones() -> Iterator[Phones]:
    made = Phones()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("host-tvm")  # what the loopback phones are


@pytest.fixture(scope="module")
def workload(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return network_workloads(network(), target, CostCache(tmp_path_factory.mktemp("prices"))).found[0]


class Watch:
    """Keeps what it hears, and kills a server after the first batch."""

    def __init__(self, after: Callable[[int], None] = lambda batches: None) -> None:
        self.records: list[Record] = []
        self.notes: list[str] = []
        self._after, self._batches = after, 0

    def planned(self, plan: Plan, loaded: Loaded) -> None: ...

    def done(self, job: Planned, records: Any, ended: bool) -> None:
        self.records += records
        self._batches += not ended
        self._after(self._batches)

    def note(self, line: str) -> None:
        self.notes.append(line)


@contextmanager
def bad_device(tracker: tuple[str, int], key: str, answer: bytes | None) -> Iterator[str]:
    """A device that registers as tvm_rpc does, and then sends `answer` to whoever connects; None: it says nothing."""
    import struct

    from tvm.rpc import base

    stop = threading.Event()
    with socket.socket() as listener, socket.create_connection(tracker) as registered:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        port = listener.getsockname()[1]
        registered.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
        base.recvall(registered, 4)
        base.sendjson(registered, [base.TrackerCode.UPDATE_INFO, {"key": f"server:{key}", "addr": ["127.0.0.1", port]}])
        base.recvjson(registered)
        held: list[socket.socket] = []

        def offer() -> None:
            match = base.random_key(f"{key}:")
            base.sendjson(registered, [base.TrackerCode.PUT, key, (port, match), "127.0.0.1"])
            base.recvjson(registered)

        def serve() -> None:
            listener.settimeout(0.2)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                held.append(connection)
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()
                offer()

        offer()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            stop.set()
            thread.join()
            for connection in held:
                connection.close()


def test_what_the_check_says_of_real_devices(phones: Phones, tmp_path: Path) -> None:
    backend = open_backend(load_target("sm8650-adreno750"), CostCache(tmp_path))
    rows = {found.what: found for found in backend.check(phones.address, "phone")}
    assert rows["tracker"].state == "ok"
    assert rows["devices 'phone'"].found.endswith("(2 free)")
    assert rows["OpenCL on the device"].state == "missing"  # TVM's wheel has no OpenCL runtime
    assert rows["OpenCL on the device"].found == "no OpenCL device"
    assert "USE_OPENCL=ON" in rows["OpenCL on the device"].do
    rows = {found.what: found for found in backend.check(phones.address, "tablet")}
    assert rows["devices 'tablet'"].state == "missing"


def test_both_devices_measure_and_a_silent_or_babbling_one_is_left(
    phones: Phones, target: Target, workload: Any
) -> None:
    runner = RpcRunner(target, phones.address, "phone", 5)
    job = Job(workload, target, "key", TVM, 4, 4, None)
    try:
        (batch,) = run_job(job, runner, [])
        assert {record.device for record in batch.records} == set(phones.devices())
        assert all(len(record.run_secs) == 3 and record.seconds > 0 for record in batch.records), batch
        assert {record.provenance for record in batch.records} == {"measured"}
        assert batch.notes == ()
        with bad_device(phones.address, "phone", b"no protocol of yours" * 50) as babbling:
            (batch,) = run_job(job, runner, [])
        assert len(batch.records) == 4
        assert all(record.run_secs for record in batch.records), batch
        assert babbling not in {record.device for record in batch.records}
        assert any(note.startswith(f"device {babbling}: ") and "its trial ran on" in note for note in batch.notes)
    finally:
        runner.close()
    impatient = RpcRunner(target, phones.address, "phone", 2)
    try:
        with bad_device(phones.address, "phone", None) as silent:
            (batch,) = run_job(job, impatient, [])
        assert len([record for record in batch.records if record.run_secs]) == 4, batch
        assert any(note.startswith(f"device {silent}: no answer within 2 s; its trial ran on") for note in batch.notes)
    finally:
        impatient.close()


def test_a_device_that_dies_in_mid_run_loses_no_record(phones: Phones, target: Target, tmp_path: Path) -> None:
    cache = CostCache(tmp_path)
    spec = RunnerSpec("rpc", phones.address, "phone", 10)
    found = open_database(cache.folder / "tuning", target, spec)
    assert found.folder.name == "host-tvm@phone"  # never among what this host measures of itself
    workloads = network_workloads(network(), target, cache)
    plan = make_plan(workloads, Budget(16, "trials"), spec, 4)
    lines: list[int] = []

    def after(batches: int) -> None:
        lines.append(found.path.read_bytes().count(b"\n"))
        if batches == 2:
            kill(phones.servers[0])

    before = phones.devices()
    watch = Watch(after)
    tune(workloads, plan, target, found, spec, LocalEngine(), watch, 4)
    assert lines[:2] == [4, 8]  # on disk batch by batch
    assert found.path.read_bytes().count(b"\n") == len(watch.records) == 16
    assert {record.device for record in watch.records[:8]} == set(before)
    (left,) = phones.devices()
    gone = next(device for device in before if device != left)
    assert {record.device for record in watch.records[-4:]} == {left}
    assert all(record.run_secs for record in watch.records)
    assert any(note.startswith(f"device {gone}: ") for note in watch.notes), watch.notes


def test_no_device_left_is_one_clear_line_and_what_is_done_is_kept(
    phones: Phones, target: Target, workload: Any
) -> None:
    runner = RpcRunner(target, phones.address, "phone", 5, patience_s=0.5)
    records: list[Record] = []

    def run() -> None:
        for batch in run_job(Job(workload, target, "key", TVM, 4, 40, None), runner, []):
            records.extend(batch.records)
            for server in phones.servers:
                kill(server)

    try:
        with pytest.raises(GraphoptError, match=r"has no device with the key 'phone'; start tvm_rpc on one \(docs/"):
            run()
    finally:
        runner.close()
    assert len(records) == 4
    assert all(record.run_secs for record in records)


def test_a_tracker_that_is_not_there(target: Target) -> None:
    with pytest.raises(GraphoptError, match=r"no TVM RPC tracker answers at 127\.0\.0\.1:9 .*; start one with: python"):
        RpcRunner(target, ("127.0.0.1", 9), "phone", 5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        threading.Thread(target=lambda: mute.accept()[0].sendall(b"HTTP/1.1 400 Bad Request"), daemon=True).start()
        with pytest.raises(GraphoptError, match="what answers is no tracker"):
            RpcRunner(target, mute.getsockname(), "phone", 5)
