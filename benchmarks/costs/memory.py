"""The memory model against onnxruntime's measured peak on this host.

    python benchmarks/costs/memory.py [MODEL ...]

Each network runs once, in a process of its own, with one thread and without onnxruntime's memory arena, so that freed
memory goes back at once; the measured peak is how far the resident set rises above where it stood before the run. The
image and the weights are in memory by then, so only activations are compared. Images of 512x512: what a process needs
besides tensors (1 to 2 MB) is then small beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZE = (512, 512)
RUN = """
import sys
import numpy as np
import onnxruntime

def resident(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.enable_cpu_mem_arena = options.enable_mem_pattern = False
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(image,) = session.get_inputs()
values = {image.name: np.random.default_rng(0).random(image.shape, dtype=np.float32)}
open("/proc/self/clear_refs", "w").write("5")  # forget earlier peaks
before = resident("VmRSS")
session.run(None, values)
print(resident("VmHWM") - before)
"""


def measured_bytes(path: Path) -> int:
    """Bytes of activations at the peak of one run of an ONNX file by onnxruntime. Linux only."""
    plain = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], env={**os.environ, **plain}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def compare(names: list[str], cache: Path) -> dict[str, Any]:
    """For each network: bytes planned, bytes measured, and the relative error of the plan."""
    import onnx

    from graphopt.cost.memory import activation_bytes
    from graphopt.models.source import find_model, load_source

    rows = {}
    for name in names:
        model, _ = load_source(find_model(name, Path()), SIZE, cache)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(model, path)
            measured = measured_bytes(path)
        planned = activation_bytes(model, 4)
        rows[name] = {"planned_bytes": planned, "measured_bytes": measured, "error": planned / measured - 1}
    return rows


def memory_error(names: list[str], cache: Path) -> dict[str, Any]:
    """The largest error over the networks, as a fraction, with the figures behind it."""
    rows = compare(names, cache)
    return {"memory_error": {"host-tvm": max(abs(row["error"]) for row in rows.values())}, "memory_rows": rows}


if __name__ == "__main__":
    from graphopt.cost.cache import cache_folder

    print(json.dumps(memory_error(sys.argv[1:] or ["nafnet-width8-sigma25"], cache_folder() / "exports"), indent=1))
