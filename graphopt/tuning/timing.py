"""What runs in worker processes: one compiled schedule, timed on this host or on a device behind a tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timing:
    """How a schedule is timed: `repeats` of as many runs as fill `least_ms`."""

    device: str
    repeats: int
    least_ms: int


def time_here(path: str, arguments: Sequence[Any], timing: Timing) -> list[float]:
    """Seconds of each repeat on this host."""
    import tvm
    from tvm.s_tir.meta_schedule.runner.utils import alloc_argument_common, run_evaluator_common

    device = tvm.runtime.device(timing.device, 0)
    fill = tvm.get_global_func("tvm.contrib.random.random_fill_for_measure")
    values = alloc_argument_common(fill, device, list(arguments), 1)
    found: list[float] = run_evaluator_common(tvm.runtime.load_module(path), device, _evaluator(timing), values)
    return found


def time_there(
    path: str, arguments: Sequence[Any], timing: Timing, device: tuple[str, int, str], limit_s: int
) -> list[float]:
    """Seconds of each repeat on a device, given as its address and the tracker's password for it."""
    from tvm.rpc.client import connect
    from tvm.s_tir.meta_schedule.runner.utils import alloc_argument_common, run_evaluator_common

    session = connect(*device, limit_s)
    where = session.device(timing.device, 0)
    fill = session.get_function("tvm.contrib.random.random_fill_for_measure")
    name = Path(path).name
    session.upload(path, name)
    module = session.load_module(name)
    values = alloc_argument_common(fill, where, list(arguments), 1)
    found: list[float] = run_evaluator_common(module, where, _evaluator(timing), values)
    for left in (name, f"{name}.so"):
        session.remove(left)
    return found


def opencl_name(device: tuple[str, int, str], limit_s: int) -> str:
    """What a device calls its GPU; empty where it has no OpenCL."""
    from tvm.rpc.client import connect

    where = connect(*device, limit_s).device("opencl", 0)
    return str(where.device_name or "OpenCL") if where.exist else ""


def get_ready() -> None:
    """Imports what timing needs, before any clock runs."""
    import tvm.rpc.client
    import tvm.s_tir.meta_schedule.runner.utils  # noqa: F401


def _evaluator(timing: Timing) -> Any:
    from tvm.s_tir.meta_schedule.runner import EvaluatorConfig

    return EvaluatorConfig(number=1, repeat=timing.repeats, min_repeat_ms=timing.least_ms, enable_cpu_cache_flush=False)
