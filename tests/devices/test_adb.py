"""Phones over adb: the tools are called as they are documented, and each thing that is missing is said in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from bundled import bundle_of, one_operator
from phones import FakePhone, fake_phone
from tool_outputs import MNN, NEW_LITERT, OLD_LITERT, PERF_TEST, REPLACED, VIEWER

from graphopt.bundle.bundle import Bundle
from graphopt.cost.measured import Reading
from graphopt.devices import adb
from graphopt.devices.adb import Phone
from graphopt.devices.base import Request
from graphopt.errors import GraphoptError
from graphopt.progress import silent

TEN = Request(runs=10, threads=2, limit_s=30)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    made = fake_phone(tmp_path / "phone")
    monkeypatch.setenv("PATH", f"{made.path}:{os.environ['PATH']}")
    return made


@pytest.fixture
def tflite(tmp_path: Path) -> Bundle:
    return bundle_of(tmp_path / "lite", {"mine.tflite": b"network"}, format="tflite", delegate="cpu")


def says(text: str) -> str:
    return f"cat <<'END'\n{text}\nEND\n"


def measure(bundle: Bundle, serial: str = "PHONE1", request: Request = TEN) -> Reading:
    return Phone(serial).measure(bundle, request, silent)


def mistake(bundle: Bundle, serial: str = "PHONE1", request: Request = TEN) -> str:
    with pytest.raises(GraphoptError) as error:
        measure(bundle, serial, request)
    assert "\n" not in str(error.value)
    return str(error.value)


def nothing_left(phone: FakePhone) -> bool:
    return not list(phone.folder.glob("graphopt-*"))


def test_litert_on_the_cpu(phone: FakePhone, tflite: Bundle) -> None:
    phone.put(
        "benchmark_model", 'echo "$@" > "$(dirname "$0")/called"; ls > "$(dirname "$0")/saw"\n' + says(OLD_LITERT)
    )
    found = measure(tflite)
    called = (phone.folder / "called").read_text().split()
    assert called == [
        "--graph=mine.tflite", "--num_threads=2", "--num_runs=10", "--min_secs=0", "--max_secs=30", "--warmup_runs=3",
        "--warmup_min_secs=0.5",
    ]  # fmt: skip
    assert (phone.folder / "saw").read_text().split() == ["mine.tflite"]
    assert (found.latency_ms, found.statistic, found.threads) == (266.473, "mean", 2)
    assert found.device == "Maker One (SM8650, Android 14)"
    assert re.fullmatch(r"benchmark_model, benchmark_model [0-9a-f]{12}", found.runtime)
    assert nothing_left(phone)


def test_litert_on_the_gpu(phone: FakePhone, tmp_path: Path) -> None:
    phone.put("benchmark_model", 'echo "$@" > "$(dirname "$0")/called"\n' + says(REPLACED.format(58) + NEW_LITERT))
    bundle = bundle_of(tmp_path / "gpu", {"mine.tflite": b"net"}, format="tflite", delegate="gpu", precision="fp16")
    found = measure(bundle, "")
    assert "--use_gpu=true --gpu_precision_loss_allowed=true" in (phone.folder / "called").read_text()
    assert (found.units, found.threads) == ({"GPU": 1.0}, None)


def test_onnxruntime_with_a_free_size(phone: FakePhone, tmp_path: Path) -> None:
    results = "".join(f"{line}\n" for line in PERF_TEST.splitlines() if line.startswith("graphopt-1"))
    phone.put("onnxruntime_perf_test", f'echo "$@" > "$(dirname "$0")/called"\ncat > runs.csv <<END\n{results}END\n')
    free = {"name": "image", "layout": "NCHW", "shape": [1, 3, None, None], "dtype": "float32", "range": [0.0, 1.0]}
    content = one_operator((1, 3, "height", "width"))
    found = measure(bundle_of(tmp_path / "onnx", {"mine.onnx": content}, inputs=[free], tile=(64, 48)))
    assert (phone.folder / "called").read_text().strip() == (
        "-e cpu -m times -r 10 -x 2 -y 1 -I -S 1 -f height:64 -f width:48 mine.onnx runs.csv"
    )
    assert (found.latency_ms, found.runs) == (pytest.approx(61.1), 5)


def test_the_npu(phone: FakePhone, tmp_path: Path) -> None:
    phone.put(
        "qnn/qnn-net-run", 'echo "$@" > ../called; cat inputs.txt > ../list; stat -c %s 0.raw > ../size; mkdir out\n'
    )
    phone.put("qnn/qnn-profile-viewer", 'echo "$@" > ../viewed\n' + says(VIEWER))
    for name in ("libQnnHtp.so", "libQnnSystem.so", "libQnnHtpV75Stub.so", "libQnnHtpV75Skel.so"):
        phone.put(f"qnn/{name}")
    files = {"mine.onnx": b"a node", "mine_qnn.bin": b"a context"}
    found = measure(bundle_of(tmp_path / "npu", files, format="qnn-context"))
    called = (phone.folder / "called").read_text()
    assert "--retrieve_context mine_qnn.bin --input_list inputs.txt" in called
    assert "--num_inferences 10" in called
    assert (phone.folder / "list").read_text() == "image:=0.raw\n"
    assert int((phone.folder / "size").read_text()) == 4 * 3 * 32 * 32
    assert (phone.folder / "viewed").read_text().strip() == "--input_log out/qnn-profiling-data_0.log"
    assert (found.latency_ms, found.bounds, found.threads) == (2.952, "range", None)
    assert nothing_left(phone)


def test_mnn(phone: FakePhone, tmp_path: Path) -> None:
    phone.put("MNN/MNNV2Basic.out", 'echo "$@" > ../called\n' + says(MNN.format("")))
    phone.put("MNN/libMNN.so")
    phone.put("MNN/libMNN_Express.so")
    found = measure(bundle_of(tmp_path / "mnn", {"mine.mnn": b"network"}, format="mnn", delegate="cpu"))
    assert (phone.folder / "called").read_text().strip() == "mine.mnn 10 0 0 2 1x3x32x32 1"
    assert (found.latency_ms, found.threads) == (12.3, 2)


def test_a_tool_that_is_missing_on_the_phone(phone: FakePhone, tflite: Bundle, tmp_path: Path) -> None:
    said = mistake(tflite)
    assert "benchmark_model missing in /data/local/tmp on the phone" in said
    assert "https://ai.google.dev/edge/litert/models/measurement" in said
    assert "adb push FILE /data/local/tmp/" in said
    phone.put("qnn/qnn-net-run")
    npu = bundle_of(tmp_path / "npu", {"mine.onnx": b"", "mine.bin": b""}, format="qnn-context")
    assert re.search(
        r"qnn-profile-viewer, .*libQnnHtpV\*Skel.so missing in /data/local/tmp/qnn on the phone", mistake(npu)
    )


def test_no_space_is_said_before_anything_is_copied(
    phone: FakePhone, tflite: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.put("benchmark_model")
    monkeypatch.setattr(adb, "SPARE", 1 << 62)
    assert re.search(r"no space on the device: [\d.]+ MiB are free, [\d.]+ MiB are needed", mistake(tflite))
    assert not any("\tpush\t" in line for line in phone.asked)


def test_no_space_while_it_is_copied(phone: FakePhone, tflite: Bundle) -> None:
    phone.put("benchmark_model")
    phone.fail("adb: error: failed to copy: remote write failed: No space left on device", when="push")
    assert mistake(tflite).endswith("no space on the device; make room there")
    assert nothing_left(phone)


def test_a_cable_that_is_pulled_midway(phone: FakePhone, tflite: Bundle) -> None:
    trouble = phone.home / "trouble"
    phone.put("benchmark_model", f"echo STARTING!; printf 'error: device not found@shell' > {trouble}; kill -9 $PPID\n")
    said = mistake(tflite)
    assert re.search(
        r"is the phone still plugged in\? earlier measurements are kept; .*graphopt-\w+ may be left there", said
    )


def test_a_tool_that_fails(phone: FakePhone, tflite: Bundle) -> None:
    phone.put("benchmark_model", "echo 'ERROR: Failed to load model' >&2; exit 1\n")
    assert mistake(tflite).endswith("benchmark_model ended with status 1: ERROR: Failed to load model")
    assert nothing_left(phone)


def test_a_tool_that_prints_something_else(phone: FakePhone, tflite: Bundle) -> None:
    phone.put("benchmark_model", "echo hello\n")
    assert mistake(tflite).endswith("benchmark_model printed no times; its last words: hello")


def test_a_tool_that_never_ends(phone: FakePhone, tflite: Bundle) -> None:
    phone.put("benchmark_model", "sleep 20\n")
    said = mistake(tflite, request=Request(limit_s=1))
    assert "no end of adb shell within 1 s, and stopped; raise --limit" in said


def test_a_format_that_no_tool_reads(phone: FakePhone, tmp_path: Path) -> None:
    assert "no tool measures a bundle of the format odd on a phone" in mistake(
        bundle_of(tmp_path / "odd", {"mine.odd": b""}, format="odd")
    )


def test_what_is_no_serial() -> None:
    with pytest.raises(GraphoptError, match="expected adb:SERIAL, as adb devices lists it"):
        Phone("a b; rm")
