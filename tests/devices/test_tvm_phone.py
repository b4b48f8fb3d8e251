"""Networks of TVM on a phone: a real RPC server plays `tvm_rpc`, and a real library is timed through it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import psutil
import pytest
from bundled import bundle_of, one_operator
from phones import FakePhone, fake_phone

from graphopt.bundle.bundle import Bundle
from graphopt.devices import tvm_phone
from graphopt.devices.adb import Phone
from graphopt.devices.base import Request
from graphopt.errors import GraphoptError
from graphopt.progress import silent

SERVER = f"""while [ $# -gt 0 ]; do case $1 in --port=*) port=${{1#--port=}};; esac; shift; done
exec {sys.executable} -c "
import runpy, signal, sys
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())  # a Python that is killed leaves its worker behind
runpy.run_module('tvm.exec.rpc_server', run_name='__main__')
" --host 127.0.0.1 --port $port --port-end $((port + 1))
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    made = fake_phone(tmp_path / "phone")
    made.put("tvm/libtvm_runtime.so")
    monkeypatch.setenv("PATH", f"{made.path}:{os.environ['PATH']}")
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A library for this machine's CPU, which is the phone's here."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = from_onnx(onnx.load_from_string(one_operator()), keep_params_in_input=False)
    relax.build(module, tvm.target.Target("llvm")).export_library(str(tmp_path / "mine.so"))
    return bundle_of(tmp_path / "bundle", {"mine.so": (tmp_path / "mine.so").read_bytes()}, format="tvm")


def test_single_runs_come_back(phone: FakePhone, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.put("tvm/tvm_rpc", SERVER)
    monkeypatch.setattr(tvm_phone, "START_S", 90)  # a Python that imports TVM, on a machine with other work
    found = Phone("PHONE1").measure(bundle, Request(runs=9, limit_s=90), silent)
    assert (found.runs, found.statistic, found.threads, found.peak_memory_bytes) == (9, "median", None, None)
    assert 0 < found.low_ms <= found.latency_ms <= found.high_ms < 50
    assert re.fullmatch(r"TVM 1.22.0, tvm_rpc [0-9a-f]{12}", found.runtime)
    assert not list(phone.folder.glob("graphopt-*"))
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if str(phone.folder) in " ".join(one.info["cmdline"] or [])
    ]
    assert any("forward\t--remove\ttcp:" in line for line in phone.asked)


def test_a_server_that_does_not_start(phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.so": b"code"}, format="opencl")
    phone.put("tvm/tvm_rpc", "exit 1\n")
    monkeypatch.setattr(tvm_phone, "START_S", 0.5)
    with pytest.raises(
        GraphoptError, match="tvm_rpc does not start on the phone; try it by hand: adb shell LD_LIBRARY"
    ):
        Phone("PHONE1").measure(bundle, Request(limit_s=30), silent)


def test_a_library_that_nobody_linked(phone: FakePhone, tmp_path: Path) -> None:
    phone.put("tvm/tvm_rpc", SERVER)
    bundle = bundle_of(tmp_path / "tar", {"mine.cl": b"source", "mine.aarch64.tar": b"objects"}, format="opencl")
    with pytest.raises(GraphoptError, match="its library is not linked; set TVM_NDK_CC"):
        Phone("").measure(bundle, Request(), silent)


def test_no_server_on_the_phone(phone: FakePhone, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", {"mine.so": b"code"}, format="opencl")
    with pytest.raises(
        GraphoptError, match=r"tvm_rpc missing in /data/local/tmp/tvm on the phone; docs/phones.md builds it"
    ):
        Phone("").measure(bundle, Request(), silent)
