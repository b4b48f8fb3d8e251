"""Boards over SSH, against a real sshd on loopback: what comes back, what is said when it goes wrong, what is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from boards import MISSING, LoopbackBoard, loopback_board, write_client
from bundled import bundle_of, one_operator

from graphopt.bundle.bundle import Bundle
from graphopt.devices import ssh
from graphopt.devices.base import Request
from graphopt.devices.ssh import Board
from graphopt.errors import GraphoptError
from graphopt.progress import silent

FIVE = Request(python=sys.executable, runs=5)
sshd = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackBoard]:
    folder = tmp_path / "board"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{write_client(folder)}:{os.environ['PATH']}")
    with loopback_board(folder) as made:
        yield made


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return bundle_of(tmp_path / "bundle", {"mine.onnx": one_operator()})


def mistake(address: str, bundle: Bundle, request: Request = FIVE) -> str:
    with pytest.raises(GraphoptError) as error:
        Board(address.removeprefix("ssh:")).measure(bundle, request, silent)
    assert "\n" not in str(error.value)
    return str(error.value)


@sshd
def test_a_bundle_is_measured_and_nothing_is_left(board: LoopbackBoard, bundle: Bundle) -> None:
    import onnxruntime

    said: list[tuple[float, str]] = []
    found = Board(board.address.removeprefix("ssh:")).measure(
        bundle, Request(python=sys.executable, runs=21), lambda share, words: said.append((share, words))
    )
    assert (found.runs, found.statistic, found.bounds, found.threads) == (21, "median", "90 %", 1)
    assert 0 < found.low_ms <= found.latency_ms <= found.high_ms < 50
    assert found.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert found.device.endswith(f"({os.uname().machine}, {os.cpu_count()} cores)")
    assert found.peak_memory_bytes is not None
    assert 0 < found.peak_memory_bytes < 64 << 20
    assert list(board.temporary.iterdir()) == []
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert {"copies the bundle", "opens the artefact", "warms up"} <= {words for _, words in said}


@sshd
def test_free_sizes_are_measured_at_the_tile(board: LoopbackBoard, tmp_path: Path) -> None:
    free = {"name": "image", "layout": "NCHW", "shape": [1, 3, None, None], "dtype": "float32", "range": [0.0, 1.0]}
    content = one_operator((1, 3, "height", "width"))
    bundle = bundle_of(tmp_path / "free", {"mine.onnx": content}, inputs=[free], tile=(64, 48))
    assert Board(board.address.removeprefix("ssh:")).measure(bundle, FIVE, silent).runs == 5


@sshd
def test_a_host_key_that_is_not_known(board: LoopbackBoard, bundle: Bundle) -> None:
    board.known_hosts.write_text("")
    port = board.address.rpartition(":")[2]
    assert re.search(
        rf"its host key is not known here; log in once by hand: ssh -p {port} ", mistake(board.address, bundle)
    )


@sshd
def test_a_host_key_that_changed(board: LoopbackBoard, bundle: Bundle) -> None:
    other = (board.known_hosts.parent / "user.pub").read_text()
    port = board.address.rpartition(":")[2]
    board.known_hosts.write_text(f"[127.0.0.1]:{port} {other}")
    assert f"forget the old one: ssh-keygen -R '[127.0.0.1]:{port}'" in mistake(board.address, bundle)


@sshd
def test_a_login_that_is_refused(board: LoopbackBoard, bundle: Bundle) -> None:
    (board.known_hosts.parent / "authorized_keys").write_text("")
    assert "it refuses the login; ssh must log in without a password: ssh-copy-id -p" in mistake(board.address, bundle)


@sshd
def test_a_board_that_is_off(board: LoopbackBoard, bundle: Bundle) -> None:
    board.process.terminate()
    board.process.wait()
    assert "nothing listens there; is sshd running" in mistake(board.address, bundle)


@sshd
def test_a_board_without_python(board: LoopbackBoard, bundle: Bundle) -> None:
    said = mistake(board.address, bundle, Request(5, python="python4"))
    assert said.endswith("python4 is not on the board; install Python 3.7 or newer, or name it: --python PATH")


@sshd
def test_a_board_without_the_runtime(board: LoopbackBoard, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "lite", {"mine.mnn": b"no network"}, format="mnn")
    said = mistake(board.address, bundle, Request(5, python=str(_bare_python(board))))
    assert re.search(r"on the board, MNN is not installed for .*: python3 -m pip install MNN \(another", said)


def _bare_python(board: LoopbackBoard) -> Path:
    """A Python with numpy in which MNN cannot be imported, installed here or not."""
    shadow = board.temporary.parent / "shadow"
    shadow.mkdir()
    (shadow / "MNN.py").write_text("raise ImportError")
    script = board.temporary.parent / "bare"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={shadow} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


@sshd
def test_no_space_on_the_board(board: LoopbackBoard, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "SPARE", 1 << 62)
    assert re.search(r"no space on the device: [\d.]+ MiB are free .* set TMPDIR there", mistake(board.address, bundle))
    assert list(board.temporary.iterdir()) == []


@sshd
def test_what_the_runtime_says_is_passed_on(board: LoopbackBoard, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "broken", {"mine.onnx": b"no network"})
    said = mistake(board.address, bundle)
    assert re.search(r"the runtime on the board fails: \w+: .*[Pp]rotobuf", said)
    assert list(board.temporary.iterdir()) == []


@sshd
def test_a_limit_ends_it(board: LoopbackBoard, bundle: Bundle) -> None:
    said = mistake(board.address, bundle, Request(python=sys.executable, runs=10**9, limit_s=1))
    assert said.endswith("not done within 1 s, and stopped; raise --limit, or lower --runs")
    assert _empty_soon(board.temporary)


@sshd
def test_a_connection_that_breaks_midway(board: LoopbackBoard, bundle: Bundle) -> None:
    """The board notices by itself, and removes what was copied."""
    broken: list[str] = []

    def cut(share: float, words: str) -> None:
        if words.startswith("run ") and not broken:
            broken.append(words)
            found = subprocess.run(
                ["pgrep", "-P", str(board.process.pid)], capture_output=True, text=True, check=True
            ).stdout.split()
            os.kill(int(found[-1]), signal.SIGKILL)

    with pytest.raises(GraphoptError, match=r"the connection broke .*; earlier measurements are kept"):
        Board(board.address.removeprefix("ssh:")).measure(bundle, Request(python=sys.executable, runs=10**9), cut)
    assert broken
    assert _empty_soon(board.temporary)


def _empty_soon(folder: Path) -> bool:
    until = time.monotonic() + 10
    while any(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(folder.iterdir())


@pytest.mark.parametrize(
    "address", ["board", "//", "//user@", "//board:0", "//board:99999", "//-oProxyCommand=ls", "//a b"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(GraphoptError, match=r"expected ssh://\[user@\]host\[:port\]"):
        Board(address)


@pytest.mark.parametrize(("form", "delegate"), [("opencl", ""), ("qnn-context", ""), ("tflite", "gpu")])
def test_what_no_board_runs(tmp_path: Path, form: str, delegate: str) -> None:
    bundle = bundle_of(tmp_path / "phone", {"mine.so": b"code"}, format=form, delegate=delegate)
    assert f"this bundle holds a file of the format {form}" in mistake("ssh://board", bundle)
