"""The table of `graphopt tune --status`: what each job has spent and found, and in what state it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphopt.backends.targets import load_target
from graphopt.errors import GraphoptError
from graphopt.tuning.budget import Budget
from graphopt.tuning.databases import TVM
from graphopt.tuning.records import Record
from graphopt.tuning.status import tuning_status
from graphopt.tuning.tune import Plan, Planned, locked, open_database, save_plan
from graphopt.tuning.work import RunnerSpec

TARGET = load_target("exynos2100-mali-g78")
SPEC = RunnerSpec("static")
JOBS = tuple(
    Planned(key, f"kernel {key}", weight, share)
    for key, weight, share in (("a", 0.5, 4), ("b", 0.25, 4), ("c", 0.125, 4), ("d", 0.125, 4), ("e", 0.0, 0))
)


def planned(folder: Path, unit: str = "trials") -> None:
    """`a` is done, `b` begun, `c` failed, `d` not begun, and `e` has no share."""
    found = open_database(folder, TARGET, SPEC)
    save_plan(Plan(Budget(16, unit), "static", "estimated", TVM, JOBS, {}), found, "net")  # type: ignore[arg-type]

    def record(key: str, *seconds: float, tvm: str = TVM) -> Record:
        return Record(key, found.target, tvm, "estimated", "kernel model", seconds, 1.5, [])

    found.append([record("a", 3e-5), record("a", 2e-5), record("a"), record("a", 4e-5)])
    found.append([record("b", 1e-3), record("c"), record("d", 1.0, tvm="0.1")])


def test_a_row_for_each_job(tmp_path: Path) -> None:
    planned(tmp_path)
    found = tuning_status(Path("some/net.yaml"), TARGET, SPEC, tmp_path)
    assert [row["state"] for row in found.rows] == ["done", "stopped", "failed", "waiting", "no share"]
    assert [row["trials"] for row in found.rows] == ["4/4", "1/4", "1/4", "0/4", "0/0"]
    assert [row["best us"] for row in found.rows] == ["20", "1000", "-", "-", "-"]
    assert [row["weight"] for row in found.rows] == ["50.0%", "25.0%", "12.5%", "12.5%", "0.0%"]
    assert [row["device"] for row in found.rows] == ["kernel model", "kernel model", None, None, None]
    assert [(row["job"], row["kernel"], row["provenance"]) for row in found.rows[:2]] == [
        (1, "kernel a", "estimated"), (2, "kernel b", "estimated"),
    ]  # fmt: skip
    assert (found.at_work, found.foreign) == (False, {"0.1": 1})


def test_somebody_is_at_work(tmp_path: Path) -> None:
    planned(tmp_path)
    with locked(open_database(tmp_path, TARGET, SPEC)):
        found = tuning_status(Path("net.yaml"), TARGET, SPEC, tmp_path)
    assert found.at_work
    assert [row["state"] for row in found.rows] == ["done", "running", "failed", "waiting", "no share"]


def test_a_budget_of_minutes_is_spent_in_seconds(tmp_path: Path) -> None:
    planned(tmp_path, "minutes")
    found = tuning_status(Path("net.yaml"), TARGET, SPEC, tmp_path)
    assert [row["trials"] for row in found.rows] == [
        "4 in 6/4 s",
        "1 in 2/4 s",
        "1 in 2/4 s",
        "0 in 0/4 s",
        "0 in 0/0 s",
    ]
    assert [row["state"] for row in found.rows] == ["done", "stopped", "failed", "waiting", "no share"]


def test_no_tuning_was_started(tmp_path: Path) -> None:
    planned(tmp_path)
    with pytest.raises(GraphoptError, match="no tuning of other.yaml for exynos2100-mali-g78 with --runner static has"):
        tuning_status(Path("other.yaml"), TARGET, SPEC, tmp_path)
