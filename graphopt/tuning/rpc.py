"""The RPC runner: schedules timed on devices behind a TVM RPC tracker, all devices of one key side by side."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError, last_line
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.builds import CompiledSchedule, compiled_schedules
from graphopt.tuning.job import Outcome
from graphopt.tuning.local import get_process_ready
from graphopt.tuning.timing import Timing, time_there
from graphopt.tuning.tracker import NoTrackerError, Tracker, devices, request_device
from graphopt.tuning.workload import Workload

DEVICES_A_TRIAL = 3  # a trial that so many devices have dropped is given up
PATIENCE_S = 10.0  # how long a device may be away before the tuning stops
STRIKES = 2  # failures in a row after which a device is left out
WAIT_S = 60.0  # for a device that is free
ASK_S = 5.0  # for one that the tracker has free now; then it is asked again who is there
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

    def __init__(self, target: TvmTarget, tracker: Tracker, key: str, limit_s: int, patience_s: float = PATIENCE_S):
        from graphopt.kernels.lowering import tvm_target

        self._tracker, self._key, self._limit_s, self._patience_s = tracker, key, limit_s, patience_s
        self._device = tvm_target(target)
        self._link = _phone_linker(target)
        self._timing = Timing("cpu" if target.is_cpu else "opencl", REPEATS, LEAST_MS)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._workers: list[Any] = []
        self._notes: list[str] = []
        self._present: set[str] = set()
        self._strikes: Counter[str] = Counter()
        self._wait_for_devices(0.0)

    def measure(self, schedules: Sequence[Any], workload: Workload) -> list[Outcome]:
        count = self._wait_for_devices(self._patience_s)
        from tvm.support.popen_pool import PopenWorker

        while len(self._workers) < count:
            worker = PopenWorker(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._workers.append(worker)
            self._idle.put(worker)
        with compiled_schedules(list(schedules), self._device, self._link) as made, ThreadPoolExecutor(count) as pool:
            return list(pool.map(self._measure, made))

    def _wait_for_devices(self, patience_s: float) -> int:
        began = time.monotonic()
        while not (here := {d for d in devices(self._tracker, self._key) if self._strikes[d] < STRIKES}):
            if time.monotonic() - began >= patience_s:
                host, port = self._tracker
                out = [device for device, strikes in self._strikes.items() if strikes >= STRIKES]
                failed = f" ({', '.join(out)} failed {STRIKES} times)" if out else ""
                raise GraphoptError(
                    f"tracker {host}:{port} has no device with the key '{self._key}'{failed}; start tvm_rpc on one "
                    "(docs/phones.md), finished trials are kept"
                )
            time.sleep(0.2)
        for gone in sorted(self._present - here):
            self._notes.append(f"device {gone}: has left the tracker, {len(here)} at work")
        self._present = here
        return len(here)

    def _measure(self, compiled: CompiledSchedule) -> Outcome:
        if compiled.path is None:
            return Outcome((), "", compiled.error)
        dropped: list[_Answer] = []
        while len(dropped) < DEVICES_A_TRIAL:
            worker = self._idle.get()
            try:
                answer = self._ask(worker, compiled, {gone.device for gone in dropped})
            finally:
                self._idle.put(worker)
            if answer is None:
                break
            if answer.run_secs or answer.by_schedule:
                self._strikes[answer.device] = 0
                for gone in dropped:
                    self._notes.append(f"device {gone.device}: {gone.error}; its trial ran on {answer.device}")
                return Outcome(answer.run_secs, answer.device, answer.error)
            dropped.append(answer)
            self._strikes[answer.device] += 1
            if self._strikes[answer.device] == STRIKES:
                self._notes.append(f"device {answer.device}: left out after {STRIKES} failures, {answer.error}")
        for gone in dropped:
            self._notes.append(f"device {gone.device}: {gone.error}; no other device took its trial")
        return Outcome((), "", "no device took this trial", lost=True)

    def _free_device(self, tried: set[str]) -> tuple[str, int, str] | None:
        """The next free device that has not failed this trial, where there is another, and is not left out."""
        began = time.monotonic()
        while time.monotonic() - began < WAIT_S:
            usable = {device for device in devices(self._tracker, self._key) if self._strikes[device] < STRIKES}
            if not usable:
                return None
            try:
                found = request_device(self._tracker, self._key, ASK_S)
            except NoTrackerError:  # all are at work
                continue
            name = f"{found[0]}:{found[1]}"
            if self._strikes[name] < STRIKES and (name not in tried or not usable - tried):
                return found
        return None

    def _ask(self, worker: Any, compiled: CompiledSchedule, tried: set[str]) -> _Answer | None:
        get_process_ready(worker)
        found = self._free_device(tried)
        if found is None:
            return None
        device = f"{found[0]}:{found[1]}"
        work = (str(compiled.path), compiled.arguments, self._timing, found, self._limit_s)
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
            reason = last_line(error)
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


def _phone_linker(target: TvmTarget) -> Callable[..., None] | None:
    """What links for the device; a CPU like this one links for itself."""
    if target.is_cpu:
        return None
    from graphopt.kernels.linker import aarch64_linker

    link = aarch64_linker()
    if link is None:
        raise GraphoptError(
            f"target {target.name}: nothing here links for Android; set TVM_NDK_CC to the NDK's clang++ (see "
            "docs/phones.md)"
        )
    return link
