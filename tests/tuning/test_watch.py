"""What a tuning says of itself while it is at work."""

from graphopt.tuning.budget import Budget
from graphopt.tuning.records import Loaded, Record
from graphopt.tuning.tune import Plan, Planned
from graphopt.tuning.watch import ProgressWatch

JOBS = (Planned("a", "conv", 0.75, 6), Planned("b", "pool", 0.25, 2))


def record(workload: str, *seconds: float, spent: float = 1.0) -> Record:
    return Record(workload, "key", "0", "estimated", "kernel model", seconds, spent)


def watch(unit: str) -> tuple[ProgressWatch, list[tuple[float, str]], list[float]]:
    said: list[tuple[float, str]] = []
    now = [100.0]
    made = ProgressWatch(lambda share, words: said.append((share, words)), said.append, lambda: now[0])  # type: ignore[arg-type]
    plan = Plan(Budget(8, unit), "static", "estimated", "0", JOBS, {})  # type: ignore[arg-type]
    made.planned(plan, Loaded({"a": [record("a", 4e-5, spent=2.0)]}))
    return made, said, now


def test_trials_are_counted_and_the_rest_is_foretold() -> None:
    made, said, now = watch("trials")
    assert said == [(0.0, "2 jobs, 8 trials in all, estimated")]
    now[0] += 10
    made.done(JOBS[0], [record("a"), record("a", 5e-5)], False)
    assert said[-1] == (2 / 7, "0/2 jobs, 2 trials, conv: best 40 us, 25 s left")  # one of eight was there before
    made.done(JOBS[0], [record("a", 3e-5), record("a", 6e-5), record("a")], True)
    assert said[-1] == (5 / 7, "1/2 jobs, 5 trials, conv: best 30 us, 4 s left")
    made.done(JOBS[1], [record("b"), record("b")], True)
    assert said[-1] == (0.999, "2/2 jobs, 7 trials, conv: best 30 us")  # the end is for others to say
    assert made.trials == 7


def test_minutes_are_those_that_trials_take() -> None:
    made, said, now = watch("minutes")
    now[0] += 300
    made.done(JOBS[1], [record("b", 2e-6, spent=1.5)], False)
    assert said[-1] == (0.25, "0/2 jobs, 1 trials, pool: best 2 us, 15 min left")
