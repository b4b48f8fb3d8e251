"""Stamps: what is done stays done, what changed runs again, and what follows from it too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphopt.errors import GraphoptError
from graphopt.run.stamps import Stamps, digest, file_digest

ORDER: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("source", ()), ("space", ("source",)), ("cost", ("space",)), ("report", ("cost",)), ("aside", ("source",)),
)  # fmt: skip


def writes(place: Path) -> None:
    (place / "result.txt").write_text(place.name)


def go(folder: Path, work: Callable[[Path], None] = writes, **inputs: Any) -> Stamps:
    stamps = Stamps(folder)
    for name, after in ORDER:
        stamps.run(name, (inputs.get(name, 0),), after, work)
    return stamps


def test_the_second_run_does_nothing(tmp_path: Path) -> None:
    first = go(tmp_path / "run")
    assert first.ran == [name for name, _ in ORDER]

    def never(place: Path) -> None:
        raise AssertionError(place)

    second = go(tmp_path / "run", never)
    assert second.ran == []
    assert second.seconds == first.seconds
    assert set(second.seconds) == {name for name, _ in ORDER}
    assert (tmp_path / "run" / "cost" / "result.txt").read_text() == "cost"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("source", ["source", "space", "cost", "report", "aside"]),
        ("space", ["space", "cost", "report"]),
        ("report", ["report"]),
        ("aside", ["aside"]),
    ],
)
def test_a_changed_input_reruns_what_follows_and_nothing_before(
    changed: str, expected: list[str], tmp_path: Path
) -> None:
    go(tmp_path)
    assert go(tmp_path, **{changed: 1}).ran == expected
    assert go(tmp_path, **{changed: 1}).ran == []


def test_another_version_reruns_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path)
    monkeypatch.setattr("graphopt.run.stamps.__version__", "99")
    assert len(go(tmp_path).ran) == len(ORDER)


def test_run_says_whether_it_ran(tmp_path: Path) -> None:
    assert Stamps(tmp_path).run("one", (), (), writes) is True
    assert Stamps(tmp_path).run("one", (), (), writes) is False


def test_a_stage_that_failed_keeps_its_folder_and_runs_again(tmp_path: Path) -> None:
    def fails(place: Path) -> None:
        (place / "checkpoint").write_text("half way")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stamps(tmp_path).run("search", (1,), (), fails)
    stamps, found = Stamps(tmp_path), []
    assert stamps.run("search", (1,), (), lambda place: found.append((place / "checkpoint").read_text()))
    assert found == ["half way"]
    assert Stamps(tmp_path).run("search", (1,), (), fails) is False


def test_the_time_of_all_attempts_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("graphopt.run.stamps.time.monotonic", lambda: now[0])

    def slow(place: Path) -> None:
        now[0] += 5
        if now[0] < 10:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Stamps(tmp_path).run("search", (), (), slow)
    stamps = Stamps(tmp_path)
    stamps.run("search", (), (), slow)
    assert stamps.seconds == {"search": 10}
    again = Stamps(tmp_path)
    again.run("search", (), (), slow)
    assert again.seconds == {"search": 10}


@pytest.mark.parametrize("first", [writes, pytest.param(None, id="fails")])
def test_a_changed_input_empties_the_folder(first: Callable[[Path], None] | None, tmp_path: Path) -> None:
    def fails(place: Path) -> None:
        writes(place)
        raise RuntimeError

    if first is None:
        with pytest.raises(RuntimeError):
            Stamps(tmp_path).run("search", (1,), (), fails)
    else:
        Stamps(tmp_path).run("search", (1,), (), first)
    found: list[str] = []
    Stamps(tmp_path).run("search", (2,), (), lambda place: found.extend(path.name for path in place.iterdir()))
    assert found == ["stamp.json"]


@pytest.mark.parametrize("stamp", ["", "[]", "{", '{"key": "other", "done": true}'])
def test_a_spoilt_stamp_runs_the_stage_again(stamp: str, tmp_path: Path) -> None:
    Stamps(tmp_path).run("one", (), (), writes)
    (tmp_path / "one" / "stamp.json").write_text(stamp)
    assert Stamps(tmp_path).run("one", (), (), writes) is True


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.tex").write_text("years of work")
    with pytest.raises(GraphoptError, match="report was not made by graphopt"):
        Stamps(tmp_path).run("report", (), (), writes)
    assert (tmp_path / "report" / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    assert Stamps(tmp_path).run("report", (), (), writes) is True


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with Stamps(folder).locked():
        with pytest.raises(GraphoptError, match=rf"^run folder {folder} is in use by another run; wait"):
            Stamps(folder).locked().__enter__()
        with Stamps(tmp_path / "runs" / "two").locked():
            assert go(folder).ran
    with Stamps(folder).locked():
        assert go(folder).ran == []


def test_the_lock_of_a_run_that_was_killed_does_not_block(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from graphopt.run.stamps import Stamps\n"
        "with Stamps(Path(sys.argv[1])).locked():\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(GraphoptError, match="is in use by another run"), Stamps(tmp_path).locked():
            pass
        other.kill()
    with Stamps(tmp_path).locked():
        assert go(tmp_path).ran


def test_digests(tmp_path: Path) -> None:
    assert digest(1, {"a": 2, "b": 3}) == digest(1, {"b": 3, "a": 2})
    assert len({digest(), digest(1), digest("1"), digest([1]), digest(1, 2), digest([1, 2])}) == 6
    assert digest(Path("a")) == digest("a")
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("x")
    second.write_text("x")
    assert file_digest(first) == file_digest(second)
    second.write_text("y")
    assert file_digest(first) != file_digest(second)


def test_a_stamp_that_is_no_text_runs_the_stage_again(tmp_path: Path) -> None:
    Stamps(tmp_path).run("one", (), (), writes)
    (tmp_path / "one" / "stamp.json").write_bytes(b"\xff\xfe\x00")
    assert Stamps(tmp_path).run("one", (), (), writes) is True


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_a_run_folder_that_cannot_be_made_is_one_message(tmp_path: Path, place: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        GraphoptError, match=rf"^run folder .*{place} cannot be written to: .*choose another with --run"
    ):
        Stamps(tmp_path / place).locked().__enter__()
