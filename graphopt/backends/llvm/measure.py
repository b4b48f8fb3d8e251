"""The host CPU: MetaSchedule tunes, and the compiled network is timed here. Nothing in this file is an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.kernels.calls import network_calls
from graphopt.kernels.target import CpuTarget
from graphopt.tuning.apply import apply_best
from graphopt.tuning.budget import Budget
from graphopt.tuning.engine import LocalEngine
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.tune import Plan, Planned, make_plan, open_database, tune
from graphopt.tuning.work import RunnerSpec
from graphopt.tuning.workload import network_workloads

if TYPE_CHECKING:
    from graphopt.progress import Progress


def measure(
    model: onnx.ModelProto, target: CpuTarget, cache: CostCache, trials: int, say: Progress
) -> tuple[float, float, float]:
    """Milliseconds of the whole network on this host: median, least, most of `repeats` measurements.

    The cache's folder keeps the tuning databases; kernels whose share of the trials is in them are not tuned again.
    """
    import tvm
    from tvm import relax

    options = target.tuning
    executable = build_host(model, target, cache, trials, say, tuned=trials > 0)
    tvm.get_global_func("runtime.config_threadpool")(1, options.threads)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    generator = np.random.default_rng(0)
    inputs = [tvm.runtime.tensor(generator.random(shape).astype(kind)) for shape, kind in images_of(model)]
    for _ in range(options.warm_up):
        machine["main"](*inputs)
    say(0.9, "measuring")
    timer = machine.time_evaluator(
        "main", tvm.cpu(), number=1, repeat=options.repeats, min_repeat_ms=options.minimum_repeat_ms
    )
    times = [1e3 * seconds for seconds in timer(*inputs).results]
    return median(times), min(times), max(times)


def images_of(model: onnx.ModelProto) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    """The shapes and types of the inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    tensors = [value.type.tensor_type for value in model.graph.input if value.name not in weights]
    return [
        (tuple(dim.dim_value for dim in tensor.shape.dim), onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        for tensor in tensors
    ]


def build_host(
    model: onnx.ModelProto, target: CpuTarget, cache: CostCache, trials: int, say: Progress, *, tuned: bool
) -> Any:
    """The network as a relax executable for this host. `tuned`: under the best schedules that the cache's database
    holds after `trials` trials, and TVM's default schedule elsewhere; otherwise under the default everywhere.
    """
    import tvm
    from tvm import relax

    from graphopt.kernels.lowering import embed_weights, to_relax, tvm_target

    device = tvm_target(target)
    module = to_relax(model, target)
    if tuned:
        network_calls(model, target, cache, module)
        known = _tune(model, target, cache, trials, say)
        with device, tvm.transform.PassContext(opt_level=3):
            module = apply_best(module, known.best)
    say(0.8, "compiling")
    return relax.build(embed_weights(module), device, relax_pipeline=relax.pipeline.default_build_pipeline())


def _tune(model: onnx.ModelProto, target: CpuTarget, cache: CostCache, trials: int, say: Progress) -> Loaded:
    """What the database knows after `trials` trials in all on this network's kernels, split by weight in full
    iterations: spread over all kernels, a small budget would improve none.
    """
    spec = RunnerSpec("local")
    found = open_database(cache.folder / "tuning", target, spec)
    if not trials:
        return found.load()
    batch = target.tuning.trials_per_iteration
    workloads = network_workloads(model, target, cache)
    plan = make_plan(workloads, Budget(trials, "trials"), spec, batch)
    watch = _Watch(say)
    known = tune(workloads, plan, target, found, spec, LocalEngine(), watch, batch)
    if watch.tried and not watch.worked:
        raise GraphoptError(
            f"tuning: none of the {watch.tried} trials could be built and run: {watch.reason}; set 'trials: 0' to "
            "measure TVM's default schedules"
        )
    return known


class _Watch:
    """Says how far the tuning of a network is, in the first 0.8 of its pricing."""

    def __init__(self, say: Progress):
        self._say = say
        self.tried = self.worked = 0
        self.reason = ""
        self._total = 0.0

    def planned(self, plan: Plan, loaded: Loaded) -> None:
        left = [amount for job in plan.jobs if (amount := plan.left(job, loaded)) > 0]
        self._total = sum(left)
        if left:
            self._say(0.1, f"tuning {len(left)} kernels with {self._total:g} trials")

    def done(self, job: Planned, records: Sequence[Record], ended: bool) -> None:
        self.tried += len(records)
        self.worked += sum(bool(record.run_secs) for record in records)
        self.reason = next((record.error for record in records if record.error), self.reason)
        if not ended:
            share = min(1.0, self.tried / max(self._total, 1))
            self._say(0.1 + 0.7 * share, f"tuning {job.name}, {self.tried} of {self._total:g} trials")

    def note(self, line: str) -> None:
        self._say(0.1, line)
