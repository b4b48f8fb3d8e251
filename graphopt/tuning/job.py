"""One tuning job: MetaSchedule proposes schedules of one kernel, a runner says what they take."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphopt.cost.record import Provenance
from graphopt.errors import last_line
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.records import Record
from graphopt.tuning.workload import Workload

GUIDED = 64  # trials of a kernel from which a learned cost model and evolution are worth their time
POPULATION = 128  # schedules that evolve; MetaSchedule's 512 take 20 s for every batch


@dataclass(frozen=True)
class Outcome:
    """What a runner says of one schedule: seconds of its runs, none where it failed, and where it ran. `lost`: no
    device was there to say anything, and the trial does not count.
    """

    run_secs: tuple[float, ...]
    device: str
    error: str = ""
    facts: dict[str, Any] | None = None
    lost: bool = False


@dataclass(frozen=True)
class Batch:
    """Trials that are done, and what the user should know of the devices."""

    records: list[Record]
    notes: tuple[str, ...] = ()


class Runner(Protocol):
    """Says what schedules take. `provenance` is what its times are."""

    provenance: Provenance

    def measure(self, schedules: Sequence[Any], workload: Workload) -> list[Outcome]:
        """An outcome for each schedule, in order.

        Raises:
            GraphoptError: nothing can be measured any more.
        """

    def notes(self) -> tuple[str, ...]:
        """What has happened to devices since the last call, a line each."""

    def close(self) -> None:
        """Lets devices and processes go."""


@dataclass(frozen=True)
class Job:
    """A workload and what it may still spend: `trials`, and `seconds` where the budget is one of time."""

    workload: Workload
    target: TvmTarget
    target_key: str
    tvm: str
    batch: int
    trials: int | None
    seconds: float | None


def run_job(
    job: Job, runner: Runner, earlier: Sequence[Record], stopped: Callable[[], bool] = lambda: False
) -> Iterator[Batch]:
    """The records of each batch as soon as it is done. `earlier` are this workload's: the search goes on from them.

    A kernel that MetaSchedule cannot schedule gives one failed record that says why.
    """
    import_quietly()
    began = time.monotonic()
    done = 0
    try:
        proposals = _Proposals(job, earlier)
    except Exception as error:  # what schedule rules meet in a kernel that they were not written for
        failed = Outcome((), "", f"MetaSchedule cannot schedule this kernel: {last_line(error)}")
        yield Batch([_record(job, runner, failed, None, time.monotonic() - began)])
        return
    while not stopped() and (job.trials is None or done < job.trials):
        if job.seconds is not None and time.monotonic() - began >= job.seconds:
            return
        started = time.monotonic()
        schedules = proposals.next(job.batch if job.trials is None else min(job.batch, job.trials - done))
        if not schedules:
            return
        outcomes = runner.measure(schedules, job.workload)
        spent = (time.monotonic() - started) / len(schedules)
        proposals.learn(outcomes)
        done += len(schedules)
        records = [
            _record(job, runner, outcome, schedule, spent)
            for outcome, schedule in zip(outcomes, schedules, strict=True)
            if not outcome.lost
        ]
        yield Batch(records, runner.notes())


def import_quietly() -> None:
    """MetaSchedule with its log silent, and TVM's intrinsics in a tenth of their time."""
    from graphopt.kernels.intrinsics import import_intrinsics

    import_intrinsics()
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)


class _Proposals:
    """Batches of schedules. For a GPU and for few trials at random; for many, by evolution with a learned cost model,
    which starts from the best of earlier runs.
    """

    def __init__(self, job: Job, earlier: Sequence[Record]):
        import tvm
        from tvm.s_tir import meta_schedule

        from graphopt.kernels.lowering import tvm_target

        self._ms = meta_schedule
        self._target = tvm_target(job.target)
        self._module = tvm.ir.load_json(job.workload.module)
        seed = random.Random(f"{job.workload.key} {len(earlier)}").randrange(1, 2**30)
        guided = job.target.is_cpu and (job.trials is None or len(earlier) + job.trials >= GUIDED)
        strategy = meta_schedule.search_strategy
        self._context = meta_schedule.TuneContext(
            self._module,
            target=self._target,
            space_generator="post-order-apply",
            search_strategy=strategy.EvolutionarySearch(population_size=POPULATION)
            if guided
            else strategy.ReplayTrace(),
            task_name=job.workload.name,
            rand_state=seed,
            num_threads=1,
        )
        self._draw: Any = None
        self._model: Any = None
        self._candidates: Any = None
        if not job.target.is_cpu:
            from graphopt.tuning.draw import Draw

            self._draw = Draw(self._context, seed)
            return
        database = meta_schedule.database.MemoryDatabase()
        if guided:
            self._model = meta_schedule.cost_model.XGBModel(num_warmup_samples=job.batch)
            self._remember(database, earlier)
        self._database = database
        most = 10**6 if job.trials is None else job.trials
        self._context.pre_tuning(most, job.batch, None, database, self._model)

    def next(self, count: int) -> list[Any]:
        if self._draw is not None:
            made: list[Any] = self._draw.schedules(count)
            return made
        self._candidates = self._context.generate_measure_candidates()
        return [candidate.sch for candidate in (self._candidates or ())]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        if self._draw is not None:
            return
        results = [
            self._ms.runner.RunnerResult(list(o.run_secs) or None, None if o.run_secs else o.error or "failed")
            for o in outcomes
        ]
        self._context.notify_runner_results(self._candidates, results)
        workload = self._database.commit_workload(self._module)
        for candidate, outcome in zip(self._candidates, outcomes, strict=True):
            seconds = list(outcome.run_secs) or [1e10]  # what MetaSchedule writes for a failure
            trace = candidate.sch.trace
            self._database.commit_tuning_record(
                self._ms.database.TuningRecord(trace, workload, seconds, self._target, candidate.args_info)
            )
        if self._model is not None:
            self._model.update(self._context, list(self._candidates), results)

    def _remember(self, database: Any, earlier: Sequence[Record]) -> None:
        from tvm import s_tir
        from tvm.s_tir.schedule import Trace

        workload = database.commit_workload(self._module)
        for record in earlier:
            if record.run_secs:
                schedule = s_tir.Schedule(self._module)
                Trace.apply_json_to_schedule(record.trace, schedule)
                database.commit_tuning_record(
                    self._ms.database.TuningRecord(schedule.trace, workload, list(record.run_secs), self._target)
                )


def _record(job: Job, runner: Runner, outcome: Outcome, schedule: Any, spent: float) -> Record:
    return Record(
        workload=job.workload.key,
        target=job.target_key,
        tvm=job.tvm,
        provenance=runner.provenance,
        device=outcome.device,
        run_secs=outcome.run_secs,
        spent_s=spent,
        trace=_plain(schedule.trace.as_json()) if schedule is not None else None,
        facts=outcome.facts,
        error=outcome.error,
    )


def _plain(content: Any) -> Any:
    """TVM's containers and numbers as Python's."""
    if isinstance(content, str | float | int | bool) or content is None:
        return content
    if hasattr(content, "value"):
        return content.value
    return [_plain(part) for part in content]
