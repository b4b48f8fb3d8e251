"""What several backends look for on this machine."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Literal

from graphopt.backends.base import Finding

_TVM = (("apache-tvm", "0.27."), ("apache-tvm-ffi", "0.1.14."))


def tvm_findings() -> list[Finding]:
    """TVM, and the library that its functions are called through."""
    return [version_finding(package, series) for package, series in _TVM]


def version_finding(package: str, series: str) -> Finding:
    """Whether a package of the series (`0.27.`) is installed."""
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        found = "not installed"
    good = found.startswith(series)
    return Finding(package, state_of(good), "prices and tuning", found, f"pip install '{package}=={series}*'")


def state_of(found: Any) -> Literal["ok", "missing"]:
    """`ok` for whatever was found, `missing` for nothing."""
    return "ok" if found else "missing"
