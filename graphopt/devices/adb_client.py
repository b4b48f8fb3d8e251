"""adb as graphopt calls it: each call with a limit, and one clear line for each way in which it fails."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphopt.devices.phone_tools import TEMPORARY, Tool
from graphopt.errors import GraphoptError

ANSWER_S = 60.0  # for a question
KEPT = "earlier measurements are kept"
_GET_ADB = "install Android's platform tools, https://developer.android.com/tools/releases/platform-tools"
_STATES = (  # what adb says -> what that means, and what to do
    ("unauthorized", "the phone asks whether to trust this machine; say yes on its screen"),
    ("offline", "the phone is offline; unlock it, or plug it in again"),
    ("more than one", "several phones are plugged in; name one, as adb devices lists it: adb:SERIAL"),
    ("no devices", "no phone is plugged in; enable USB debugging there (docs/phones.md)"),
    ("not found", "no phone of that serial is plugged in; adb devices lists them"),
)


@dataclass(frozen=True)
class Facts:
    """What a phone is, its free bytes (None where it does not say), the build of a tool, and what it lacks of it."""

    phone: str
    free: int | None
    build: str
    lacks: str


class Adb:
    """One phone. `name` is what the user calls it, `serial` is empty for the only one."""

    def __init__(self, name: str, serial: str):
        self.name = name
        self._which = ["-s", serial] if serial else []

    def call(self, arguments: Sequence[str], limit_s: float = ANSWER_S) -> str:
        """What adb prints.

        Raises:
            GraphoptError: it fails, or is not done in time.
        """
        try:
            done = subprocess.run(
                self._line(arguments), stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise GraphoptError(
                f"device {self.name}: no end of adb {arguments[0]} within {limit_s:g} s, and stopped; raise --limit, "
                f"lower --runs, or plug the phone in again; {KEPT}"
            ) from error
        output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        if done.returncode:
            raise GraphoptError(f"device {self.name}: {_meaning(done.stderr.decode(errors='replace') or output)}")
        return output

    def shell(self, script: str, limit_s: float = ANSWER_S) -> str:
        """What a script of the phone's shell prints."""
        return self.call(["shell", script], limit_s)

    @contextmanager
    def running(self, script: str) -> Iterator[subprocess.Popen[bytes]]:
        """A script that goes on in the phone's shell meanwhile."""
        quiet = subprocess.DEVNULL
        with subprocess.Popen(self._line(["shell", script]), stdin=quiet, stdout=quiet, stderr=quiet) as process:
            try:
                yield process
            finally:
                process.terminate()  # the phone's daemon hangs its shell up

    @contextmanager
    def forwarded(self, port: int) -> Iterator[int]:
        """The port of this machine that leads to a `port` of the phone."""
        here = self.call(["forward", "tcp:0", f"tcp:{port}"]).strip()
        if not here.isdigit():
            raise GraphoptError(f"device {self.name}: adb forward gives no port: {last(here)}")
        try:
            yield int(here)
        finally:
            subprocess.run(self._line(["forward", "--remove", f"tcp:{here}"]), capture_output=True, check=False)

    @contextmanager
    def folder(self) -> Iterator[str]:
        """A folder on the phone, which goes at the end, whatever happens.

        A phone that is gone removes it itself where its shell still runs; where it cannot, the error says so.
        """
        path = f"{TEMPORARY}/graphopt-{secrets.token_hex(4)}"
        self.shell(f"mkdir -p {path}")
        try:
            yield path
        except GraphoptError as error:
            try:
                self.shell(f"rm -rf {path}")
            except GraphoptError:
                raise GraphoptError(f"{error}; {path} may be left there") from error
            raise
        except BaseException:  # the user stops us
            self.shell(f"rm -rf {path}")
            raise
        self.shell(f"rm -rf {path}")

    def look(self, tool: Tool) -> Facts:
        """What the phone is, and what it has of a tool."""
        needs = " ".join(tool.needs)  # the phone's shell expands them
        asked = (
            'echo "phone=$(getprop ro.product.manufacturer) $(getprop ro.product.model) ($(getprop ro.soc.model), '
            'Android $(getprop ro.build.version.release))"; '
            f'echo "free=$(df -k {TEMPORARY} | tail -n 1)"; cd {tool.folder} 2>/dev/null; '
            f'echo "build=$(sha256sum {tool.identity} 2>/dev/null)"; '
            f'for f in {needs}; do test -e {tool.folder}/$f || echo "lacks=$f"; done'
        )
        lines = [line.partition("=") for line in self.shell(asked).splitlines()]
        said = {key: value.strip() for key, _, value in lines}
        free = said.get("free", "").split()
        return Facts(
            said.get("phone", "") or self.name,
            int(free[3]) * 1024 if len(free) > 3 and free[3].isdigit() else None,
            said.get("build", "")[:12] or "?",
            ", ".join(value.strip() for key, _, value in lines if key == "lacks"),
        )

    def _line(self, arguments: Sequence[str]) -> list[str]:
        adb = shutil.which("adb")
        if adb is None:
            raise GraphoptError(f"device {self.name}: adb is not on this machine; {_GET_ADB}")
        return [adb, *self._which, *arguments]


def last(output: str) -> str:
    """The last words of an output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def _meaning(said: str) -> str:
    if "No space left" in said:
        return "no space on the device; make room there"
    for words, meaning in _STATES:
        if words in said:
            return meaning
    return f"adb fails ({last(said)}); is the phone still plugged in? {KEPT}"
