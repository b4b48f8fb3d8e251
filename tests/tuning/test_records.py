"""The tuning database: what is written stays, whatever happens, and nothing is taken for what it is not."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from graphopt.errors import GraphoptError
from graphopt.tuning.records import Database, Record


def record(seconds: float | None = 1e-3, workload: str = "w", **changes: object) -> Record:
    runs = () if seconds is None else (seconds,)
    made = Record(workload, "target", "0.27", "estimated", "kernel model", runs, 0.1, [["trace"], []])
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "db", "estimated", "target", "0.27")


def test_records_come_back_as_they_were(database: Database) -> None:
    written = [record(2e-3), record(None, error="refused"), record(1e-3, facts={"threads": 64}), record(3e-3, "v")]
    database.append(written[:2])
    database.append(written[2:])
    loaded = database.load()
    assert loaded.records == {"w": written[:3], "v": written[3:]}
    assert loaded.best("w") == written[2]
    assert (loaded.trials("w"), loaded.trials("x"), loaded.spent_s("w")) == (3, 0, pytest.approx(0.3))
    assert loaded.best("x") is None


def test_failures_alone_have_no_best(database: Database) -> None:
    database.append([record(None, error="refused")])
    assert database.load().best("w") is None


def test_the_median_of_the_runs_decides(database: Database) -> None:
    steady, lucky = record(workload="w", run_secs=(2.0, 2.0, 2.0)), record(workload="w", run_secs=(1.0, 3.0, 3.0))
    database.append([lucky, steady])
    assert database.load().best("w") == steady


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_a_kill_cut_short_is_left_out_and_harms_no_other(database: Database, cut: int) -> None:
    database.append([record(1.0), record(2.0)])
    content = database.path.read_bytes()
    database.path.write_bytes(content[:-cut] if cut > 1 else content[:-2])
    assert [found.seconds for found in database.load().records["w"]] == [1.0]
    database.append([record(3.0)])
    assert [found.seconds for found in database.load().records["w"]] == [1.0, 3.0]


def test_measured_and_estimated_never_mix(database: Database) -> None:
    with pytest.raises(GraphoptError, match="a trial that is measured does not belong among those that are estimated"):
        database.append([record(provenance="measured")])
    assert not database.path.exists()
    database.append([record()])
    other = Database(database.folder, "measured", "target", "0.27")
    with pytest.raises(GraphoptError, match="holds trials that are estimated, expected measured ones alone"):
        other.load()


def test_trials_of_another_tvm_or_of_other_figures_are_not_used(database: Database) -> None:
    database.append([record(tvm="0.26"), record(target="older figures"), record(5.0)])
    loaded = database.load()
    assert [found.seconds for found in loaded.records["w"]] == [5.0]
    assert loaded.foreign == {"0.26": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_one_clear_line(database: Database) -> None:
    database.folder.mkdir()
    database.path.symlink_to("/dev/full")
    with pytest.raises(GraphoptError, match="cannot be written: the disk is full; all earlier trials are kept"):
        database.append([record()])


def test_every_line_says_what_it_is(database: Database) -> None:
    database.append([record()])
    content = json.loads(database.path.read_text())
    assert {key: content[key] for key in ("provenance", "device", "tvm", "target")} == {
        "provenance": "estimated",
        "device": "kernel model",
        "tvm": "0.27",
        "target": "target",
    }
