"""The host CPU: MetaSchedule tunes, and the compiled network is timed here. Nothing in this file is an estimate."""

from __future__ import annotations

import inspect
import logging
import sys
from pathlib import Path
from statistics import median
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from graphopt.cost.keys import target_key
from graphopt.cost.target import Target, Tuning
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    from graphopt.progress import Progress

_FAILED = 1e10  # seconds, which MetaSchedule records for a trial that could not be built or run


def import_intrinsics() -> None:
    """Imports TVM's tensor intrinsics in 2 s instead of 27: their 496 scripts each ask for a whole call stack with
    source lines, of which the parser needs the frames alone.
    """
    complete = inspect.stack
    inspect.stack = _frames
    try:
        import tvm.s_tir.tensor_intrin  # noqa: F401
    finally:
        inspect.stack = complete


def _frames(context: int = 1) -> list[inspect.FrameInfo]:
    frame: FrameType | None = sys._getframe(1)
    found: list[inspect.FrameInfo] = []
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found


def measure(
    model: onnx.ModelProto, target: Target, folder: Path, trials: int, say: Progress
) -> tuple[float, float, float]:
    """Milliseconds of the whole network on this host: median, least, most of `repeats` measurements.

    `folder` keeps the tuning databases of measured schedules; what is in them is not tuned again.
    """
    import tvm
    from tvm import relax

    options = _options(target)
    executable = build_host(model, target, folder, trials, say, tuned=trials > 0)
    tvm.get_global_func("runtime.config_threadpool")(1, options.threads)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    generator = np.random.default_rng(0)
    inputs = [tvm.runtime.tensor(generator.random(shape, np.float32)) for shape in input_shapes(model)]
    for _ in range(options.warm_up):
        machine["main"](*inputs)
    say(0.9, "measuring")
    timer = machine.time_evaluator(
        "main", tvm.cpu(), number=1, repeat=options.repeats, min_repeat_ms=options.minimum_repeat_ms
    )
    times = [1e3 * seconds for seconds in timer(*inputs).results]
    return median(times), min(times), max(times)


def input_shapes(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    """The shapes of the inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in weights]
    return [tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in images]


def build_host(model: onnx.ModelProto, target: Target, folder: Path, trials: int, say: Progress, *, tuned: bool) -> Any:
    """The network as a relax executable for this host. `tuned`: under the best schedules that the database in `folder`
    holds after `trials` more trials, and TVM's default schedule elsewhere; otherwise under the default everywhere.
    """
    import tvm
    from tvm import relax

    from graphopt.cost.lowering import embed_weights, to_relax, tvm_target

    device = tvm_target(target)
    module = to_relax(model, target)
    if tuned:
        database = _database(folder / target_key(target)[:16])
        if trials:
            _tune(module, device, database, folder, _options(target), trials, say)
        with device, database, tvm.transform.PassContext(opt_level=3):
            module = relax.transform.MetaScheduleApplyDatabase(enable_warning=False)(module)
    say(0.8, "compiling")
    return relax.build(embed_weights(module), device, relax_pipeline=relax.pipeline.default_build_pipeline())


def _options(target: Target) -> Tuning:
    if target.tuning is None:
        raise GraphoptError(f"target {target.name}: only an llvm target is tuned and measured on this host")
    return target.tuning


def _database(folder: Path) -> Any:
    """Measured records alone: MetaSchedule's files cannot tell an estimate from a measurement."""
    from tvm.s_tir import meta_schedule

    folder.mkdir(parents=True, exist_ok=True)
    return meta_schedule.database.JSONDatabase(
        path_workload=str(folder / "workloads.json"), path_tuning_record=str(folder / "measured_records.json")
    )


def _tune(module: Any, device: Any, database: Any, folder: Path, options: Tuning, trials: int, say: Progress) -> None:
    """Spends the trials on the tasks that weigh most (calls x FLOPs), a full iteration each: spread over all tasks, a
    small budget would improve none. Where a task gets no second iteration, a learned cost model has nothing to learn
    from: random schedules of the same space are as good, and 20 s of evolution a task are saved.
    """
    guided = trials >= 8 * options.trials_per_iteration
    import_intrinsics()
    from tvm.s_tir import analysis, meta_schedule

    from graphopt.cost.builder import InProcessBuilder

    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)  # the console's; `logs` has everything
    found = meta_schedule.relax_integration.extract_tasks(module, device)
    found.sort(key=lambda task: -task.weight * analysis.estimate_tir_flops(task.dispatched[0]))
    found = found[: max(1, trials // options.trials_per_iteration)]
    contexts, weights = meta_schedule.relax_integration.extracted_tasks_to_tune_contexts(
        found, str(folder / "logs"), strategy="evolutionary" if guided else "replay-trace", num_threads=1, seed=0
    )
    fresh = [
        (context, weight)
        for context, weight in zip(contexts, weights, strict=True)
        if database.query_tuning_record(context.mod, device, context.task_name) is None
    ]
    if not fresh:
        return
    say(0.1, f"tuning {len(fresh)} kernels with {trials} trials")
    before = len(database.get_all_tuning_records())
    try:
        meta_schedule.tune.tune_tasks(
            tasks=[context for context, _ in fresh],
            task_weights=[weight for _, weight in fresh],
            work_dir=str(folder / "logs"),
            max_trials_global=trials,
            max_trials_per_task=max(options.trials_per_iteration, trials // (4 if guided else 1)),
            num_trials_per_iter=options.trials_per_iteration,
            builder=InProcessBuilder(),
            runner=meta_schedule.runner.LocalRunner(
                timeout_sec=options.run_timeout_s,
                evaluator_config=meta_schedule.runner.EvaluatorConfig(
                    number=1, repeat=1, min_repeat_ms=options.minimum_repeat_ms, enable_cpu_cache_flush=False
                ),
            ),
            database=database,
            cost_model="xgb" if guided else "random",
        )
    except Exception as error:  # what TVM's schedule rules meet in a kernel that they were not written for
        reason = str(error).strip().splitlines()[-1]
        raise GraphoptError(
            f"tuning: MetaSchedule failed on a kernel of this network: {reason[:300]}; set 'trials: 0' to measure "
            f"TVM's default schedules, or see {folder / 'logs'}"
        ) from error
    seconds = [float(s) for record in database.get_all_tuning_records()[before:] for s in record.run_secs]
    if min(seconds, default=_FAILED) >= _FAILED:
        raise GraphoptError(f"tuning: none of the {trials} trials could be built and run; see {folder / 'logs'}")
