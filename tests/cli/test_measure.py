"""`graphopt measure`: on a board over a real sshd, and mistakes before anything is copied."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from boards import MISSING, LoopbackBoard, loopback_board, write_client
from bundled import TARGET, bundle_of, one_operator
from graphs import Call

from graphopt.bundle.bundle import Bundle
from graphopt.cost.measured import measured_rows

sshd = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackBoard]:
    folder = tmp_path / "board"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{write_client(folder)}:{os.environ['PATH']}")
    with loopback_board(folder) as made:
        yield made


@sshd
def test_on_a_board(call: Call, board: LoopbackBoard, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.onnx": one_operator()})
    asked = ("measure", bundle.folder, "--device", board.address, "--runs", 9, "--python", sys.executable)
    status, out, _ = call(*asked, "--json")
    assert status == 0
    found = json.loads(out)
    assert (found["target"], found["provenance"], found["runs"], found["threads"]) == (TARGET, "measured", 9, 1)
    assert found["estimates"][0]["value"] == 2.0
    kept = measured_rows(tmp_path / "cache", TARGET, bundle.manifest.graph)
    assert [row.reading.latency_ms for row in kept] == [found["latency_ms"]]
    assert kept[0].command == f"graphopt measure {bundle.folder} --device {board.address} --runs 9"
    measured = [one for one in Bundle.open(bundle.folder).manifest.figures if one.provenance == "measured"]
    assert [one.what for one in measured] == ["latency", "peak memory"]
    status, out, _ = call(*asked)
    assert status == 0
    first, second, third = out.splitlines()
    assert first.startswith(f"{TARGET}: 0.")
    assert "ms (measured, median of 9 runs, " in first
    assert second.endswith(" MiB above idle at the peak (measured)")
    assert third == "  2.000 ms (estimated, 1.5 to 2.5 ms)"


def test_a_changed_artefact_goes_nowhere(mistake: Callable[..., str], tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.onnx": one_operator()})
    (bundle.folder / "mine.onnx").write_bytes(b"another")
    said = mistake("measure", bundle.folder, "--device", "ssh://nobody@nowhere.invalid")
    assert "mine.onnx is not the file that manifest.json names: its hash differs" in said


def test_what_is_no_bundle(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert "is no bundle" in mistake("measure", tmp_path, "--device", "adb:")


def test_what_is_no_device(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert "--device 'board': expected ssh://user@board, adb:SERIAL" in mistake(
        "measure", tmp_path, "--device", "board"
    )
