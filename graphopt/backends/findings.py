"""What several backends look for on this machine."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Literal

from graphopt.backends.base import Finding
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.tuning.tracker import Tracker, devices, free_devices

_TVM = (("apache-tvm", "0.27."), ("apache-tvm-ffi", "0.1.14."))


def tvm_findings() -> list[Finding]:
    """TVM, and the library that its functions are called through."""
    return [version_finding(package, series) for package, series in _TVM]


def tvm_version() -> tuple[str, str]:
    """The runtime that artefacts of TVM are made for, as manifests name it."""
    return "tvm", metadata.version("apache-tvm")


def version_finding(package: str, series: str) -> Finding:
    """Whether a package of the series (`0.27.`) is installed."""
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        found = "not installed"
    good = found.startswith(series)
    return Finding(package, state_of(good), "prices and tuning", found, f"pip install '{package}=={series}*'")


def tracker_findings(tracker: Tracker | None, key: str | None) -> list[Finding]:
    """The tracker, and the devices that it has under the key.

    Raises:
        GraphoptError: one of the two without the other.
    """
    start = "start one: python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190"
    serve = "start tvm_rpc server on the device with that tracker and key (docs/phones.md)"
    if tracker is None:
        if key is not None:
            raise GraphoptError(f"--key {key} needs --tracker HOST:PORT, where devices of that name register")
        do = f"{start}; check with --tracker and --key"
        return [Finding("tracker", "missing", "devices", "no --tracker given", do)]
    address = f"{tracker[0]}:{tracker[1]}"
    if key is None:
        raise GraphoptError(f"--tracker {address} needs --key, what the tracker calls the device")
    try:
        found, free = devices(tracker, key), free_devices(tracker, key)
    except GraphoptError as error:
        return [Finding("tracker", "missing", "devices", str(error).partition(";")[0], start)]
    listed = f"{', '.join(found) or 'none'} ({free} free)"
    return [
        Finding("tracker", "ok", "devices", address),
        Finding(f"devices '{key}'", state_of(found), "devices", listed, serve),
    ]


def refuse_tracker(target: Target, tracker: Tracker | None, key: str | None) -> None:
    """Raises GraphoptError where one is given, and nothing of the target is reached over it."""
    if tracker is not None or key is not None:
        raise GraphoptError(f"target {target.name} is reached over no tracker; leave out --tracker and --key")


def state_of(found: Any) -> Literal["ok", "missing"]:
    """`ok` for whatever was found, `missing` for nothing."""
    return "ok" if found else "missing"
