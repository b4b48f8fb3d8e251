"""Live progress of a tuning: jobs, trials, the best so far, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from graphopt.progress import Progress
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.tune import Plan, Planned


class ProgressWatch:
    """A `Watch` that says where the tuning is; `note` hears a line for whatever the user should know."""

    def __init__(self, say: Progress, note: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._say, self.note, self._clock = say, note, clock
        self.trials = 0
        self._jobs = self._ended = 0
        self._work = self._worked = 0.0
        self._best: dict[str, float] = {}
        self._last = ""
        self._began = clock()
        self._plan: Plan | None = None

    def planned(self, plan: Plan, loaded: Loaded) -> None:
        left = {job.key: plan.left(job, loaded) for job in plan.jobs}
        self._plan, self._began = plan, self._clock()
        self._jobs, self._work = sum(amount > 0 for amount in left.values()), sum(left.values())
        for job in plan.jobs:
            best = loaded.best(job.key)
            if best is not None:
                self._best[job.key] = best.seconds
        self._say(0.0, f"{self._jobs} jobs, {plan.budget} in all, {plan.provenance}")

    def done(self, job: Planned, records: Sequence[Record], ended: bool) -> None:
        self.trials += len(records)
        self._ended += ended
        in_trials = self._plan is None or self._plan.budget.unit == "trials"
        self._worked += len(records) if in_trials else sum(record.spent_s for record in records)
        good = [record.seconds for record in records if record.run_secs]
        if good:
            self._best[job.key] = min([*good, self._best.get(job.key, float("inf"))])
        if job.key in self._best:
            self._last = f"{job.name}: best {1e6 * self._best[job.key]:.4g} us"
        self._say(min(0.999, self._worked / max(self._work, 1e-9)), self.words())

    def words(self) -> str:
        """`3/20 jobs, 24 trials, conv2d: best 31.5 us, 40 s left`."""
        said = [f"{self._ended}/{self._jobs} jobs", f"{self.trials} trials"]
        if self._last:
            said.append(self._last)
        if 0 < self._worked < self._work:
            left = (self._clock() - self._began) * (self._work - self._worked) / self._worked
            said.append(f"{left:.0f} s left" if left < 120 else f"{left / 60:.0f} min left")
        return ", ".join(said)
