"""The Ray engine: jobs spread over the hosts of a Ray cluster, or over this one's cores. Records come back batch by
batch, and only the driver writes the database.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from graphopt.errors import GraphoptError, last_line
from graphopt.kernels.keys import figures_key
from graphopt.tuning.job import Batch, run_job
from graphopt.tuning.work import RunnerSpec, Work, past

ATTEMPTS = 3  # of one job, where the hosts that work on it go away


class RayEngine:
    """A job for each CPU of the cluster at a time. $RAY_ADDRESS names the cluster; without it, this host is one."""

    def __init__(self) -> None:
        try:
            import ray
        except ImportError as error:
            raise GraphoptError("--engine ray needs Ray: pip install 'graphopt[ray]'") from error
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        self._ray = ray
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def run(self, works: Sequence[Work], spec: RunnerSpec, deadline: float) -> Iterator[tuple[int, Batch | None]]:
        ray = self._ray
        remote = ray.remote(num_cpus=1, max_retries=0)(_work)
        streams: dict[Any, int] = {}
        left = list(works)
        attempts: Counter[int] = Counter()

        def submit(place: int) -> None:
            attempts[place] += 1
            streams[remote.options(num_returns="streaming").remote(left[place], spec, deadline)] = place

        for place in range(len(works)):
            submit(place)
        try:
            while streams:
                (stream,), _ = ray.wait(list(streams), num_returns=1)
                place = streams[stream]
                try:
                    batch: Batch = ray.get(next(stream))
                except StopIteration:
                    del streams[stream]
                    yield place, None
                    continue
                except ray.exceptions.RayTaskError as error:
                    raise _said(error) from error
                except ray.exceptions.RayError as error:
                    del streams[stream]
                    yield (
                        place,
                        Batch([], (f"a Ray worker went away ({type(error).__name__}); its job goes on elsewhere",)),
                    )
                    if attempts[place] == ATTEMPTS:
                        raise GraphoptError(f"Ray: {ATTEMPTS} workers went away with the same job: {error}") from error
                    submit(place)
                    continue
                left[place] = _after(left[place], batch)
                yield place, batch
        finally:
            for stream in streams:
                ray.cancel(stream, force=False)


def _after(work: Work, batch: Batch) -> Work:
    """What is left of a job after a batch, for a second attempt."""
    job, spent = work.job, sum(record.spent_s for record in batch.records)
    trials = None if job.trials is None else job.trials - len(batch.records)
    seconds = None if job.seconds is None else job.seconds - spent
    return Work(replace(job, trials=trials, seconds=seconds), [*work.earlier, *batch.records])


def _work(work: Work, spec: RunnerSpec, deadline: float) -> Iterator[Batch]:
    """One job, in a worker process of some host."""
    job = work.job
    if spec.kind == "local" and figures_key(job.target, local=True)[:16] != job.target_key:
        raise GraphoptError(
            f"host {socket.gethostname()} has another processor than the one that {job.target.name} is measured on; "
            "keep such hosts out of the cluster, or use --runner rpc or static"
        )
    runner = spec.open(job.target)
    try:
        yield from run_job(job, runner, work.earlier, past(deadline))
    finally:
        runner.close()


def _said(error: Any) -> GraphoptError:
    cause = error.cause
    if isinstance(cause, GraphoptError):
        return GraphoptError(str(cause))
    last = last_line(cause)
    return GraphoptError(f"Ray: a job failed on its worker: {last}; finished trials are kept")
