"""CPU seconds of a static tuning trial: a schedule is drawn, lowered and priced, with no device.

`python benchmarks/costs/static_trials.py` prints it for both phone GPUs, over kernels of the network that ships.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.kernels.keys import target_key
from graphopt.models.source import find_model, load_source
from graphopt.tuning.databases import TVM
from graphopt.tuning.job import Job, import_quietly, run_job
from graphopt.tuning.static import StaticRunner
from graphopt.tuning.workload import network_workloads

TARGETS = ("sm8650-adreno750", "exynos2100-mali-g78")
TRIALS, EVERY = 8, 4  # trials of every fourth kernel


def static_trials(model: str = "nafnet-width8-sigma25", resolution: tuple[int, int] = (256, 256)) -> dict[str, float]:
    """`static_trial_seconds` is the mean over both targets, the others are by target; without TVM's import."""
    import_quietly()
    spent: dict[str, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        network, _ = load_source(find_model(model, Path()), resolution, Path(folder) / "exports")
        for name in TARGETS:
            target, cache = load_target(name), CostCache(Path(folder) / "costs")
            workloads = network_workloads(network, target, cache).found[::EVERY]
            runner = StaticRunner(target)
            began, count = time.process_time(), 0
            for workload in workloads:
                job = Job(workload, target, target_key(target), TVM, TRIALS, TRIALS, None)
                count += sum(len(batch.records) for batch in run_job(job, runner, []))
            spent[name] = (time.process_time() - began, count)
    total = sum(seconds for seconds, _ in spent.values()) / sum(count for _, count in spent.values())
    return {
        "static_trial_seconds": total,
        **{f"static_trial_seconds_{name}": seconds / count for name, (seconds, count) in spent.items()},
    }


if __name__ == "__main__":
    print(json.dumps(static_trials(), indent=1))
