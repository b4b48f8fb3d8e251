"""Linkers that make libraries for Android's aarch64 on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from graphopt.errors import GraphoptError

Link = Callable[..., None]
_CROSS_COMPILER = "aarch64-linux-gnu-g++"


def aarch64_linker() -> Link | None:
    """What links for aarch64 here, None where there is nothing that does."""
    command = aarch64_linker_command()
    return None if command is None else _linker(command)


def aarch64_linker_command() -> list[str] | None:
    """The NDK's compiler (`TVM_NDK_CC`), the GNU cross compiler, or lld from the package `ziglang`."""
    if os.environ.get("TVM_NDK_CC"):
        return [os.environ["TVM_NDK_CC"], "-shared", "-fPIC"]
    if shutil.which(_CROSS_COMPILER):
        return [_CROSS_COMPILER, "-shared", "-fPIC"]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "ld.lld", "-shared"]
    return None


def _linker(command: list[str]) -> Link:
    def link(output: str, objects: list[str], options: list[str] | None = None, **_: Any) -> None:
        done = subprocess.run(
            [*command, "-o", output, *objects, *(options or [])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = " ".join(done.stderr.split())[-300:]
            raise GraphoptError(f"linking {output} with {command[0]} failed: {reason}")

    link.output_format = "so"  # type: ignore[attr-defined]  # TVM asks a linker what it makes
    return link
