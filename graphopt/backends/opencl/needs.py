"""What this machine has, and lacks, to price, tune, build and check kernels for a phone's GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess

from graphopt.backends.base import Finding
from graphopt.backends.findings import state_of, tracker_findings
from graphopt.errors import last_line
from graphopt.tuning.tracker import Tracker, free_devices

DEVICE_S = 30  # for a device to say what it has


def phone_needs(tracker: Tracker | None, key: str | None) -> list[Finding]:
    """Everything beside TVM, from a compiler for Android to the devices at a tracker."""
    return [_aarch64(), _opencl_source(), _linker(), *_adb(), *_devices(tracker, key), _pocl()]


def _aarch64() -> Finding:
    import tvm

    names = [str(name) for name in tvm.get_global_func("target.llvm_get_targets")()]
    found = next((name for name in names if name.startswith("aarch64")), "")
    return Finding(
        "LLVM for aarch64", state_of(found), "artefacts", found or "none", "install TVM's own wheel, apache-tvm"
    )


def _opencl_source() -> Finding:
    import tvm

    found = tvm.get_global_func("target.build.opencl", allow_missing=True) is not None
    say = "writes OpenCL C" if found else "none"
    return Finding("OpenCL code generation", state_of(found), "prices", say, "install TVM's own wheel, apache-tvm")


def _linker() -> Finding:
    from graphopt.kernels.linker import aarch64_linker_command

    command = aarch64_linker_command()
    found = " ".join(command or ["none"])
    do = "set TVM_NDK_CC to the NDK's aarch64-linux-android*-clang++ (for devices), or pip install ziglang"
    ndk = os.environ.get("TVM_NDK_CC")
    if ndk and not shutil.which(ndk):
        return Finding("linker for Android", "missing", "artefacts, devices", f"TVM_NDK_CC={ndk} is no program", do)
    return Finding("linker for Android", state_of(command), "artefacts, devices", found, do)


def _adb() -> list[Finding]:
    adb = shutil.which("adb")
    install = "install the Android platform tools (adb) and put them on PATH"
    attach = "attach the phone by USB, allow USB debugging on it, and see that 'adb devices' lists it as 'device'"
    if adb is None:
        return [
            Finding("adb", "missing", "devices", "not on PATH", install),
            Finding("phone on USB", "missing", "devices", "adb is needed to look", attach),
        ]
    try:
        listed = subprocess.run([adb, "devices"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Finding("adb", "missing", "devices", f"{adb} does not answer ({error})", install)]
    pairs = [line.split() for line in listed.splitlines()[1:] if len(line.split()) == 2]
    ready = [serial for serial, state in pairs if state == "device"]
    others = [f"{serial} is {state}" for serial, state in pairs if state != "device"]
    return [
        Finding("adb", "ok", "devices", adb),
        Finding("phone on USB", state_of(ready), "devices", ", ".join([*ready, *others]) or "none", attach),
    ]


def _devices(tracker: Tracker | None, key: str | None) -> list[Finding]:
    found = tracker_findings(tracker, key)
    if tracker is None or key is None or found[-1].state == "missing" or not free_devices(tracker, key):
        return found
    return [*found, _device_opencl(tracker, key)]


def _device_opencl(tracker: Tracker, key: str) -> Finding:
    from tvm.support.popen_pool import PopenWorker

    from graphopt.tuning.local import get_process_ready
    from graphopt.tuning.timing import opencl_name
    from graphopt.tuning.tracker import request_device

    worker = PopenWorker(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    do = "build tvm_rpc with USE_OPENCL=ON, and give it the phone's libOpenCL.so (docs/phones.md)"
    try:
        get_process_ready(worker)
        worker.send(opencl_name, (request_device(tracker, key, DEVICE_S), DEVICE_S), timeout=DEVICE_S)
        name = str(worker.recv())
    except Exception as error:  # whatever a device does that is not well
        reason = last_line(error)
        return Finding("OpenCL on the device", "missing", "devices", f"the device does not answer: {reason}", do)
    finally:
        worker.kill()
    return Finding("OpenCL on the device", state_of(name), "devices", name or "no OpenCL device", do)


def _pocl() -> Finding:
    do = "pip install pyopencl, and apt-get install pocl-opencl-icd"
    purpose = "running kernels with no phone"
    if importlib.util.find_spec("pyopencl") is None:
        return Finding("OpenCL on this host", "missing", purpose, "no pyopencl", do)
    import pyopencl

    try:
        names = [platform.name for platform in pyopencl.get_platforms()]
    except pyopencl.Error as error:
        return Finding("OpenCL on this host", "missing", purpose, f"pyopencl finds no platform ({error})", do)
    return Finding("OpenCL on this host", state_of(names), purpose, ", ".join(names) or "no platform", do)
