"""The local runner: schedules timed on this host's CPU, in a process of their own that may crash."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError
from graphopt.kernels.target import CpuTarget, TvmTarget
from graphopt.tuning.builds import CompiledSchedule, compiled_schedules
from graphopt.tuning.job import Outcome
from graphopt.tuning.timing import Timing, get_ready, time_here
from graphopt.tuning.workload import Workload

DEVICE = "this host"


class LocalRunner:
    """Measures on this host. Runners take turns: two at once would disturb each other's times."""

    provenance: Provenance = "measured"

    def __init__(self, target: TvmTarget):
        from tvm.support.popen_pool import PopenWorker

        from graphopt.kernels.lowering import tvm_target

        if not isinstance(target, CpuTarget):
            raise GraphoptError(
                f"target {target.name} is not this host: use --runner static, or rpc with --tracker and --key"
            )
        self._limit_s = target.tuning.run_timeout_s
        self._timing = Timing("cpu", 1, target.tuning.minimum_repeat_ms)
        self._device = tvm_target(target)
        self._worker = PopenWorker(stderr=subprocess.DEVNULL)
        self._turn = FileLock(Path(tempfile.gettempdir()) / "graphopt-measures.lock", mode=0o666)

    def measure(self, schedules: Sequence[Any], workload: Workload) -> list[Outcome]:
        with compiled_schedules(list(schedules), self._device, None) as made, self._turn:
            return [self._time(compiled) for compiled in made]

    def _time(self, compiled: CompiledSchedule) -> Outcome:
        if compiled.path is None:
            return Outcome((), DEVICE, compiled.error)
        get_process_ready(self._worker)
        try:
            self._worker.send(time_here, (str(compiled.path), compiled.arguments, self._timing), timeout=self._limit_s)
            return Outcome(tuple(self._worker.recv()), DEVICE)
        except TimeoutError:
            return Outcome((), DEVICE, f"ran longer than {self._limit_s} s")
        except Exception as error:  # whatever the process says, or that it has crashed
            return Outcome((), DEVICE, f"{type(error).__name__}: {error}"[:300])

    def notes(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        self._worker.kill()


def get_process_ready(worker: Any) -> None:
    """Starts a worker's process, where it has none, and lets it import TVM: that is no part of a trial's time."""
    if not worker.is_alive():
        worker.send(get_ready)
        worker.recv()
