"""The RPC runner: schedules timed on devices behind a TVM RPC tracker, all devices of one key side by side."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from graphopt.cost.jobs.artefact import Artefact, artefacts
from graphopt.cost.jobs.local import get_process_ready
from graphopt.cost.jobs.search import Outcome
from graphopt.cost.jobs.timing import Timing, time_there
from graphopt.cost.jobs.tracker import Tracker, devices, request_device
from graphopt.cost.jobs.workload import Workload
from graphopt.cost.record import Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError

DEVICES_A_TRIAL = 3  # a trial that so many devices have dropped is given up
PATIENCE_S = 10.0  # how long a device may be away before the tuning stops
WAIT_S = 120.0  # for a device that is free
REPEATS, LEAST_MS = 3, 20


@dataclass(frozen=True)
class _Answer:
    """What one device said. `by_schedule`: the device is well, and refused this schedule."""

    device: str
    run_secs: tuple[float, ...] = ()
    error: str = ""
    by_schedule: bool = False


class RpcRunner:
    """Measures on the devices that a tracker has under a key. A device that drops, hangs or answers garbage is left,
    its trial is repeated on another, and `notes` says so.
    """

    provenance: Provenance = "measured"

    def __init__(self, target: Target, tracker: Tracker, key: str, limit_s: int, patience_s: float = PATIENCE_S):
        from graphopt.cost.lowering import tvm_target

        self._tracker, self._key, self._limit_s, self._patience_s = tracker, key, limit_s, patience_s
        self._device = tvm_target(target)
        self._link = _phone_linker(target)
        self._timing = Timing("cpu" if target.kind == "llvm" else "opencl", REPEATS, LEAST_MS)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._workers: list[Any] = []
        self._notes: list[str] = []
        self._present: set[str] = set()
        self._wait_for_devices(0.0)

    def measure(self, schedules: Sequence[Any], workload: Workload) -> list[Outcome]:
        count = self._wait_for_devices(self._patience_s)
        from tvm.support.popen_pool import PopenWorker

        while len(self._workers) < count:
            worker = PopenWorker(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._workers.append(worker)
            self._idle.put(worker)
        with artefacts(list(schedules), self._device, self._link) as made, ThreadPoolExecutor(count) as pool:
            return list(pool.map(self._measure, made))

    def _wait_for_devices(self, patience_s: float) -> int:
        began = time.monotonic()
        while not (here := set(devices(self._tracker, self._key))):
            if time.monotonic() - began >= patience_s:
                host, port = self._tracker
                last = "; ".join(self._notes[-2:])
                raise GraphoptError(
                    f"tracker {host}:{port} has no device with the key '{self._key}'; start tvm_rpc on one (docs/"
                    f"phones.md), finished trials are kept{': ' + last if last else ''}"
                )
            time.sleep(0.2)
        for gone in sorted(self._present - here):
            self._notes.append(f"device {gone}: has left the tracker, {len(here)} at work")
        self._present = here
        return len(here)

    def _measure(self, artefact: Artefact) -> Outcome:
        if artefact.path is None:
            return Outcome((), "", artefact.error)
        dropped: list[_Answer] = []
        while len(dropped) < DEVICES_A_TRIAL and devices(self._tracker, self._key):
            worker = self._idle.get()
            try:
                answer = self._ask(worker, artefact)
            finally:
                self._idle.put(worker)
            if answer.run_secs or answer.by_schedule:
                for gone in dropped:
                    self._notes.append(f"device {gone.device}: {gone.error}; its trial ran on {answer.device}")
                return Outcome(answer.run_secs, answer.device, answer.error)
            dropped.append(answer)
        for gone in dropped:
            self._notes.append(f"device {gone.device}: {gone.error}; no other device took its trial")
        return Outcome((), "", "no device took this trial", lost=True)

    def _ask(self, worker: Any, artefact: Artefact) -> _Answer:
        get_process_ready(worker)
        host, port, password = request_device(self._tracker, self._key, WAIT_S)
        device = f"{host}:{port}"
        work = (str(artefact.path), artefact.arguments, self._timing, (host, port, password), self._limit_s)
        overdue = threading.Timer(self._limit_s + 5, worker.kill)  # where its own clock does not stop it
        overdue.start()
        try:
            worker.send(time_there, work, timeout=self._limit_s)
            seconds = worker.recv()
            problem = _nonsense(seconds)
            return _Answer(device, () if problem else tuple(float(second) for second in seconds), problem)
        except TimeoutError:
            return _Answer(device, error=f"no answer within {self._limit_s} s")
        except Exception as error:  # whatever TVM's client meets, or that it has crashed
            reason = next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)[:200]
            return _Answer(device, error=reason, by_schedule=_is_the_schedules_fault(error))
        finally:
            overdue.cancel()

    def notes(self) -> tuple[str, ...]:
        said, self._notes = tuple(self._notes), []
        return said

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()


def _nonsense(seconds: Any) -> str:
    if not isinstance(seconds, list) or not seconds:
        return f"answered {seconds!r}, expected times"
    wrong = [second for second in seconds if not isinstance(second, float) or not 0 < second < math.inf]
    return f"answered {wrong[0]!r} s, expected a time above 0" if wrong else ""


def _is_the_schedules_fault(error: BaseException) -> bool:
    """Whether the device is well and has refused what it was given: its own error came back over RPC."""
    return "Error caught from RPC call" in str(error)


def _phone_linker(target: Target) -> Callable[..., None] | None:
    """What links for the device; a CPU like this one links for itself."""
    if target.kind == "llvm":
        return None
    from graphopt.cost.compiled import aarch64_linker

    link = aarch64_linker()
    if link is None:
        raise GraphoptError(
            f"target {target.name}: nothing here links for Android; set TVM_NDK_CC to the NDK's clang++ (see "
            "docs/phones.md)"
        )
    return link
