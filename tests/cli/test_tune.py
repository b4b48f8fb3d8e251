"""graphopt tune: its status, a kill, a full disk, and mistakes in one line."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from graphs import onnx_model
from PIL import Image


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline over a small ONNX network, and the cache that all these tests share."""
    folder = tmp_path_factory.mktemp("home")
    text = """(float[1,3,32,32] x) => (float[1,3,32,32] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(a, g, b)
        p = ReduceMean<keepdims=1>(d, axes) k = Conv<kernel_shape=[1,1]>(p, c, b) m = Mul(d, k)
        r = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(m, u, t) y = Add(r, x) }"""
    weights = {"w": (8, 3, 3, 3), "b": (8,), "g": (8, 1, 3, 3), "axes": np.array([2, 3]), "c": (8, 8, 1, 1),
               "u": (3, 8, 3, 3), "t": (3,)}  # fmt: skip
    onnx.save(onnx_model(text, weights), folder / "small.onnx")
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(5).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "0.png")
    config = {
        "model": "small.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "calibration_images": 1},
        "passes": ["static-attention"],
        "targets": {"exynos2100-mali-g78": 1},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def graphopt(home: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GRAPHOPT_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)
    return lambda *arguments: call("tune", "small.yaml", "--target", "exynos2100-mali-g78", *arguments)


def test_tune_status_and_tune_again(graphopt: Any, home: Path) -> None:
    status, _, said = graphopt("--status")
    assert (status, said.count("\n")) == (1, 1)
    assert "no tuning of small.yaml for exynos2100-mali-g78 with --runner static has been started" in said
    status, out, said = graphopt("--budget", "24 trials")
    assert status == 0, said
    assert "24 trials of" in out
    assert "(24 new), estimated" in out
    records = home / "cache/costs/tuning/estimated/exynos2100-mali-g78/records.jsonl"
    assert len(records.read_text().splitlines()) == 24
    status, out, said = graphopt("--budget", "24 trials")
    assert (status, "nothing to do: all of them were there" in out) == (0, True)
    status, out, said = graphopt("--status", "--json")
    shown = json.loads(out)
    assert (status, shown["budget"], shown["runner"]) == (0, "24 trials", "static")
    assert sum(int(row["trials"].partition("/")[0]) for row in shown["jobs"]) == 24
    assert {row["state"] for row in shown["jobs"]} == {"done", "no share"}
    assert {row["provenance"] for row in shown["jobs"]} == {"estimated"}
    assert all(float(row["best us"]) > 0 for row in shown["jobs"] if row["state"] == "done")
    status, out, _ = graphopt("--status")
    assert "24 trials with the static runner:" in out
    assert out.rstrip().endswith("not at work")


def test_a_killed_tuning_loses_nothing_and_goes_on(home: Path, graphopt: Any) -> None:
    records = home / "cache/costs/tuning/estimated/sm8650-adreno750/records.jsonl"
    adreno = ("--target", "sm8650-adreno750")
    command = [sys.executable, "-m", "graphopt", "tune", "small.yaml", *adreno, "--budget", "100000 trials"]
    environment = {**os.environ, "GRAPHOPT_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE) as running:
        began = time.monotonic()
        while not records.exists() or records.read_bytes().count(b"\n") < 16:
            assert running.poll() is None
            assert time.monotonic() - began < 120
            time.sleep(0.1)
        status, _, said = graphopt(*adreno)
        assert status == 1
        assert "is in use by another graphopt tune" in said
        running.send_signal(signal.SIGKILL)
    kept = records.read_bytes().count(b"\n")
    assert kept >= 16
    _, out, _ = graphopt(*adreno, "--status", "--json")
    rows = json.loads(out)["jobs"]
    assert sum(int(row["trials"].partition("/")[0]) for row in rows) == kept
    assert "stopped" in {row["state"] for row in rows}
    status, _, said = graphopt(*adreno, "--budget", f"{kept + 8} trials")
    assert status == 0, said
    assert 0 < records.read_bytes().count(b"\n") - kept <= kept + 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "many"), "budget 'many': expected a number of trials or of minutes"),
        (("--runner", "statik"), "runner 'statik' is not known; did you mean 'static'?"),
        (("--runner", "rpc"), "--runner rpc needs --tracker HOST:PORT and --key KEY"),
        (("--tracker", "localhost", "--key", "phone"), "--tracker 'localhost': expected HOST:PORT"),
        (("--tracker", "127.0.0.1:9", "--key", "phone"), "no TVM RPC tracker answers at 127.0.0.1:9"),
        (("--key", "phone"), "--tracker and --key belong to --runner rpc, not to static"),
        (("--runner", "local"), "exynos2100-mali-g78 is not this host: use --runner static"),
        (("--target", "sm8650-hexagon"), "sm8650-hexagon: its own compiler schedules the network"),
        (("--engine", "spark"), "engine 'spark' is not known; known: local, ray"),
    ],
)
def test_mistakes_are_one_line(graphopt: Any, arguments: tuple[str, ...], message: str) -> None:
    status, out, said = graphopt(*arguments)
    assert (status, out, said.count("\n")) == (1, "", 1)
    assert message in said


def test_a_full_disk_stops_the_tuning_with_one_line(graphopt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.fsync

    def full(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("records.jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    status, out, said = graphopt("--budget", "1000 trials")
    assert (status, out) == (1, "")
    assert said.splitlines()[-1].endswith(
        "the disk is full; all earlier trials are kept, and the same command goes on from there"
    )
    assert "Traceback" not in said
