"""Reads what the phones' own tools print: each parser takes the whole output, and returns what it says.

Raises GraphoptError where a tool printed something else: then its last words are passed on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from graphopt.backends.measuring import median_interval
from graphopt.cost.measured import Statistic
from graphopt.devices.base import spread_of_mean
from graphopt.errors import GraphoptError

MEDIAN_FACTOR = 1.2533  # the deviation of a median over that of a mean, where runs are distributed normally

_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_STATISTICS = re.compile(
    r"count=(?P<count>\d+)(?: first=\d+)? curr=(?P<curr>\d+)(?:\(all same\))?"
    rf"(?: min=\d+ max=\d+ avg={_NUMBER} std={_NUMBER})?(?: p5=\d+ median=(?P<median>\d+))?"
)
_FOOTPRINT = re.compile(rf"Memory footprint delta from the start of the tool \(MB\): init={_NUMBER} overall={_NUMBER}")
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
_NOT_DELEGATED = ("model graph will not be executed by the delegate", "Failed to apply GPU delegate")
_MNN = re.compile(rf"Avg= {_NUMBER} ms,(?: OpSum = {_NUMBER} ms)? min= {_NUMBER} ms, max= {_NUMBER} ms")
_MNN_MEMORY = re.compile(rf"Session Info: memory use {_NUMBER} MB")


@dataclass(frozen=True)
class Parsed:
    """What a tool printed: milliseconds, bytes above idle, and the share of layers on each unit, where it says so."""

    latency_ms: float
    low_ms: float
    high_ms: float
    statistic: Statistic
    runs: int
    bounds: Literal["90 %", "range"] = "90 %"
    peak_memory_bytes: int | None = None
    units: Mapping[str, float] = field(default_factory=dict)


def benchmark_model(output: str, delegate: str) -> Parsed:
    """LiteRT's `benchmark_model`: the last line of statistics is that of the timed runs, in microseconds.

    Newer builds print the median, older ones the mean alone.
    """
    found = list(_STATISTICS.finditer(output))
    if not found or "Inference timings in us" not in output:
        raise _unread("benchmark_model", output)
    units = _delegated(output, delegate)
    timed, runs = found[-1], int(found[-1]["count"])
    mean, deviation = float(timed[3] or timed["curr"]), float(timed[4] or 0)
    middle = timed["median"]
    value, factor = (float(middle), MEDIAN_FACTOR) if middle else (mean, 1.0)
    low, high = spread_of_mean(value, deviation, runs, factor)
    memory = _FOOTPRINT.search(output)
    peak = round(float(memory[2]) * 2**20) if memory else None
    kind: Statistic = "median" if middle else "mean"
    return Parsed(value / 1e3, low / 1e3, high / 1e3, kind, runs, peak_memory_bytes=peak, units=units)


def _delegated(output: str, delegate: str) -> dict[str, float]:
    """The share of the graph's nodes that the GPU's delegate takes; nothing where the CPU was asked for."""
    if delegate != "gpu":
        return {}
    if any(words in output for words in _NOT_DELEGATED):
        raise GraphoptError(
            "the GPU delegate takes nothing of this network there, so the CPU would be measured; see what the "
            "delegate says: benchmark_model --use_gpu=true"
        )
    replaced = [found for found in _REPLACED.finditer(output) if "Gpu" in found[3]]
    if not replaced:
        return {"GPU": 1.0} if "completely executed by the delegate" in output else {}
    share = sum(int(found[1]) for found in replaced) / int(replaced[0][2])
    return {"GPU": share, "CPU": 1 - share} if share < 1 else {"GPU": 1.0}


def perf_test(output: str) -> Parsed:
    """onnxruntime's `onnxruntime_perf_test`, with its result file behind it: a line a run, `model,seconds,bytes,...`.

    Its memory is that of the whole process, idle state and all, so none is passed on.
    """
    rows = re.findall(r"^[^,\n]*,([\d.e+-]+),\d+,-?\d+,\d+\s*$", output, re.MULTILINE)
    if not rows:
        raise _unread("onnxruntime_perf_test", output)
    times = [1e3 * float(row) for row in rows]
    return Parsed(median(times), *median_interval(times), "median", len(times))


def profile_viewer(output: str, runs: int) -> Parsed:
    """Qualcomm's `qnn-profile-viewer`, of a log of `qnn-net-run`: sections with mean, least and most, in microseconds.

    `NetRun` is what a program waits for; what the accelerator itself takes is a part of it.
    """
    mean, least, most = (_netrun(output, kind) for kind in ("Average", "Min", "Max"))
    if mean is None:
        raise _unread("qnn-profile-viewer", output)
    low, high = least or mean, most or mean
    return Parsed(mean / 1e3, low / 1e3, high / 1e3, "mean", runs, "range", units={"NPU": 1.0})


def _netrun(output: str, kind: str) -> float | None:
    """Microseconds in the section of that kind, which ends where the next begins."""
    section = re.search(rf"^Execute Stats \({kind}\):(.*?)(?=^\S[^\n]* Stats\b|\Z)", output, re.MULTILINE | re.DOTALL)
    found = re.search(r"\bNetRun:\s*(\d+) us", section[1]) if section else None
    return float(found[1]) if found else None


def mnn_basic(output: str, runs: int) -> Parsed:
    """MNN's `MNNV2Basic.out`: mean, least and most in milliseconds, and the memory of its session."""
    found = list(_MNN.finditer(output))
    if not found:
        raise _unread("MNNV2Basic.out", output)
    mean, _, least, most = found[-1].groups()
    memory = _MNN_MEMORY.search(output)
    peak = round(float(memory[1]) * 2**20) if memory else None
    return Parsed(float(mean), float(least), float(most), "mean", runs, "range", peak_memory_bytes=peak)


def _unread(tool: str, output: str) -> GraphoptError:
    words = [line.strip() for line in output.splitlines() if line.strip()]
    said = words[-1][:200] if words else "nothing"
    return GraphoptError(f"{tool} printed no times; its last words: {said}")
