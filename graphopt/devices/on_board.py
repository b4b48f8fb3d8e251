"""Runs on a board, on its own: measures one artefact there. `graphopt measure` sends it, and removes it again.

    python3 on_board.py probe FORMAT
    python3 on_board.py run FORMAT FILE INPUTS RUNS THREADS LIMIT_S

Needs Python 3.7, numpy and the runtime of the format, nothing of graphopt. Each line that it prints is one JSON object:
`said` while it works, at last `found`; `missing` or `failed` where it cannot. Lines come often, so that it ends soon
after nobody listens any more. `INPUTS`: JSON, a list of [name, shape, dtype].
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIMES = {  # format -> the packages that run it, of which the first that is there is taken, and how to get one
    "onnx": (("onnxruntime",), "python3 -m pip install onnxruntime"),
    "tflite": (("ai_edge_litert", "tflite_runtime"), "python3 -m pip install ai-edge-litert"),
    "mnn": (("MNN",), "python3 -m pip install MNN"),
}
CORES = "/sys/devices/system/cpu"  # where Linux says what they are
WARM_UP_S, WARM_UP_RUNS = 0.5, 3  # until caches and clocks are up: at least so long, and so often
MEMORY_RUNS = 3  # an arena grows in the first, and may grow once more in the next
BREATH_S = 0.2  # between two lines, so that printing costs no time


class MissingError(Exception):
    """Something that has to be installed on the board; its text says how."""


def tell(**content: Any) -> None:
    """One line for graphopt. Raises BrokenPipeError where it is gone."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def find_runtime(form: str) -> tuple[Any, str]:
    """The module that runs a format, and its name with the version."""
    packages, how = RUNTIMES[form]
    if _module("numpy") is None:
        raise MissingError(f"numpy is not installed for {sys.executable}: python3 -m pip install numpy")
    for name in packages:
        module = _module(name)
        if module is not None:
            return module, f"{name} {getattr(module, '__version__', None) or _version(name)}"
    raise MissingError(f"{packages[0]} is not installed for {sys.executable}: {how}")


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def _version(package: str) -> str:
    try:
        return str(import_module("importlib.metadata").version(package.replace("_", "-")))
    except Exception:  # Python 3.7, or a package without metadata: the name says enough
        return "?"


def describe() -> str:
    """What the board calls itself: its model where it says one, its processor and the cores that may be used."""
    model = ""
    for path in ("/proc/device-tree/model", "/sys/devices/virtual/dmi/id/product_name"):
        with contextlib.suppress(OSError), open(path) as file:
            model = model or file.read().strip("\0\n ")
    return f"{model or platform.node()} ({platform.machine()}, {os.cpu_count()} cores)"


def fastest_cores(count: int) -> list[int]:
    """The cores of the highest capacity or clock among those allowed: big.LITTLE boards number the small ones first."""

    def speed(core: int) -> int:
        for fact in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
            with contextlib.suppress(OSError, ValueError), open(f"{CORES}/cpu{core}/{fact}") as file:
                return int(file.read())
        return 0

    return sorted(os.sched_getaffinity(0), key=lambda core: (-speed(core), core))[:count]


def memory(key: str) -> int | None:
    """Bytes that /proc/self/status says: VmRSS now, VmHWM at most; None where there is no such file."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith(key + ":")), None)
    return None


def settle() -> int | None:
    """Gives back what was freed, makes VmHWM start anew, and says what is resident."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return memory("VmRSS")


def open_onnx(runtime: Any, path: str, inputs: dict[str, Any], threads: int) -> Callable[[], Any]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_mem_pattern = False  # as the host's own prices are measured
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def open_tflite(runtime: Any, path: str, inputs: dict[str, Any], threads: int) -> Callable[[], Any]:
    interpreter = import_module(runtime.__name__ + ".interpreter").Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    given = [(place["index"], value) for place, value in zip(interpreter.get_input_details(), inputs.values())]  # noqa: B905

    def run() -> None:
        for place, value in given:
            interpreter.set_tensor(place, value)
        interpreter.invoke()

    return run


def open_mnn(runtime: Any, path: str, inputs: dict[str, Any], threads: int) -> Callable[[], Any]:
    interpreter = runtime.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "numThread": threads})
    places = interpreter.getSessionInputAll(session)
    kind, order = runtime.Halide_Type_Float, runtime.Tensor_DimensionType_Caffe
    for name, value in inputs.items():
        interpreter.resizeTensor(places[name], value.shape)
    interpreter.resizeSession(session)
    given = [(places[name], runtime.Tensor(value.shape, kind, value, order)) for name, value in inputs.items()]

    def run() -> None:
        for place, value in given:
            place.copyFrom(value)
        interpreter.runSession(session)

    return run


OPENERS = {"onnx": open_onnx, "tflite": open_tflite, "mnn": open_mnn}


def noise(specs: list[tuple[str, list[int], str]]) -> dict[str, Any]:
    """Images in [0, 1), by the names of the inputs."""
    random = import_module("numpy").random.RandomState(0)
    return {key: random.random_sample(shape).astype(dtype) for key, shape, dtype in specs}


def measure(form: str, path: str, specs: list[tuple[str, list[int], str]], runs: int, threads: int) -> None:
    """Tells single runs in milliseconds, after a warm-up, and the memory at their peak, above what is left of the
    process when it lets go of the network. What loading needs for a moment is no part of it.

    A run on one thread is charged its processor time, where that is less than the clock on the wall says.
    """
    os.sched_setaffinity(0, fastest_cores(threads))
    runtime, name = find_runtime(form)
    inputs = noise(specs)
    tell(said="opens the artefact", share=0.0)
    run = OPENERS[form](runtime, path, inputs, threads)
    began, done = time.perf_counter(), 0
    while done < WARM_UP_RUNS or time.perf_counter() - began < WARM_UP_S:
        tell(said="warms up", share=0.05)
        run()
        done += 1
    times: list[float] = []
    told = time.perf_counter()
    while len(times) < runs:
        before, spent = time.perf_counter(), time.process_time()
        run()
        spent, after = time.process_time() - spent, time.perf_counter()
        times.append((min(after - before, spent) if threads == 1 else after - before) * 1e3)
        if after - told > BREATH_S:
            tell(said=f"run {len(times)} of {runs}", share=0.1 + 0.9 * len(times) / runs)
            told = time.perf_counter()
    del run, inputs
    tell(said="looks at its memory", share=1.0)
    idle = settle()
    again = OPENERS[form](runtime, path, noise(specs), threads)
    settle()
    for _ in range(MEMORY_RUNS):
        again()
    peak = memory("VmHWM")
    most = None if idle is None or peak is None else max(0, peak - idle)
    tell(found={"times_ms": times, "memory": most, "device": describe(), "runtime": name})


def probe(form: str) -> None:
    """Tells what runs a format here, and the room that there is for it."""
    _, name = find_runtime(form)
    tell(found={"runtime": name, "device": describe(), "free": shutil.disk_usage(tempfile.gettempdir()).free})


def main(task: str, form: str, *rest: str) -> int:
    try:
        if task == "probe":
            probe(form)
        else:
            path, specs, runs, threads, limit = rest
            signal.alarm(int(float(limit)) + 1)  # ends even a runtime that never returns
            measure(form, path, json.loads(specs), int(runs), int(threads))
    except MissingError as error:
        tell(missing=str(error))
        return 3
    except BrokenPipeError:  # nobody listens
        os._exit(4)
    except Exception as error:  # whatever a runtime raises
        tell(failed=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
