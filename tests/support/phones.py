"""A phone to measure on: an `adb` on PATH that is a real program, and a folder of this machine as the phone's own.

It does what adb does: `get-state`, `push`, `forward`, and `shell`, which runs the script in this machine's shell with the phone's
folders, and the tools there, put in their place. What it was asked stands in `asked`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_ADB = """#!{python}
import pathlib, shutil, signal, subprocess, sys
home = pathlib.Path({home!r})
arguments = sys.argv[1:]
with (home / "asked").open("a") as asked:
    print("\\t".join(arguments).replace("\\n", " "), file=asked)
if arguments[:1] == ["-s"]:
    if arguments[1] != "PHONE1":
        sys.exit("error: device '" + arguments[1] + "' not found")
    arguments = arguments[2:]
trouble = home / "trouble"
words, _, when = trouble.read_text().partition("@") if trouble.exists() else ("", "", "")
if words and (not when or when in " ".join(arguments)):
    sys.exit(words)
verb, rest = arguments[0], arguments[1:]
inside = lambda text: text.replace("/data/local/tmp", str(home / "tmp"))
if verb == "get-state":
    print("device")
elif verb == "push":
    shutil.copy(rest[0], inside(rest[1]))
elif verb == "forward":
    print(rest[1].removeprefix("tcp:") if rest[0] == "tcp:0" else "")  # the phone's ports are this machine's
elif verb == "shell":
    environment = {{"PATH": str(home / "system") + ":/usr/bin:/bin"}}
    shell = subprocess.Popen(["sh", "-c", inside(rest[0])], env=environment)
    signal.signal(signal.SIGTERM, lambda number, frame: shell.send_signal(signal.SIGHUP))  # as the phone's daemon does
    sys.exit(shell.wait())
"""
_GETPROP = """#!/bin/sh
case $1 in
ro.product.manufacturer) echo Maker;; ro.product.model) echo One;; ro.soc.model) echo SM8650;; *) echo 14;;
esac
"""


@dataclass(frozen=True)
class FakePhone:
    """`folder` is the phone's /data/local/tmp, `path` goes on PATH."""

    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "tmp"

    @property
    def path(self) -> Path:
        return self.home / "bin"

    @property
    def asked(self) -> list[str]:
        return (self.home / "asked").read_text().splitlines()

    def put(self, name: str, script: str = "") -> None:
        """A tool, or a library, where its user would push it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)

    def fail(self, words: str, when: str = "") -> None:
        """From now on adb says `words` and fails: always, or where its arguments hold `when`."""
        (self.home / "trouble").write_text(f"{words}@{when}" if when else words)


def fake_phone(home: Path) -> FakePhone:
    for name in ("tmp", "bin", "system"):
        (home / name).mkdir(parents=True)
    for path, script in (("bin/adb", _ADB.format(python=sys.executable, home=str(home))), ("system/getprop", _GETPROP)):
        (home / path).write_text(script)
        (home / path).chmod(0o755)
    return FakePhone(home)
