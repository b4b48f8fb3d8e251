"""A phone over adb, `adb:SERIAL`: the tool of the bundle's runtime runs there, where its user has put it."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.cost.measured import Reading
from graphopt.devices.base import Device, Request
from graphopt.devices.parsers import Parsed
from graphopt.devices.phone_tools import TEMPORARY, Call, Tool, tool_call
from graphopt.errors import GraphoptError
from graphopt.progress import Progress

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle

SPARE = 8 << 20  # bytes that a phone needs besides the files
ANSWER_S = 60.0  # for a question
COPY_S = 600.0  # for the files
_KEPT = "earlier measurements are kept"
_STATUS = "graphopt-status="
_GET_ADB = "install Android's platform tools, https://developer.android.com/tools/releases/platform-tools"
_STATES = (  # what adb says -> what that means, and what to do
    ("unauthorized", "the phone asks whether to trust this machine; say yes on its screen"),
    ("offline", "the phone is offline; unlock it, or plug it in again"),
    ("more than one", "several phones are plugged in; name one, as adb devices lists it: adb:SERIAL"),
    ("no devices", "no phone is plugged in; enable USB debugging there (docs/phones.md)"),
    ("not found", "no phone of that serial is plugged in; adb devices lists them"),
)


class Phone(Device):
    """`address` is its serial; empty where it is the only one."""

    def __init__(self, address: str):
        if address and not re.fullmatch(r"[\w.:\[\]-]+", address):
            raise GraphoptError(f"--device 'adb:{address}': expected adb:SERIAL, as adb devices lists it")
        self.name = f"adb:{address}"
        self._which = ["-s", address] if address else []

    def measure(self, bundle: Bundle, request: Request, say: Progress) -> Reading:
        call = tool_call(bundle, request)
        say(0.0, "looks for the phone and its tools")
        self._adb(["get-state"], ANSWER_S)
        facts = self._look(call.tool)
        self._check(call.tool, facts, bundle)
        folder = f"{TEMPORARY}/graphopt-{secrets.token_hex(4)}"
        with self._removed_at_the_end(folder):
            say(0.1, "copies the bundle")
            self._copy(bundle, call, folder)
            say(0.3, f"{call.tool.name} runs {request.runs} times")
            output = self._run(call, folder, request)
        found = self._parse(call, output)
        build = f"{call.tool.name}, {call.tool.identity} {facts['build']}"
        return Reading(
            found.latency_ms, found.low_ms, found.high_ms, found.statistic, found.runs, facts["phone"], build,
            bounds=found.bounds, threads=call.threads, peak_memory_bytes=found.peak_memory_bytes, units=found.units,
        )  # fmt: skip

    def _look(self, tool: Tool) -> dict[str, str]:
        """What the phone is, which build of the tool it has, what it lacks of it, and its room in bytes."""
        needs = " ".join(tool.needs)  # the phone's shell expands them
        asked = (
            'echo "phone=$(getprop ro.product.manufacturer) $(getprop ro.product.model) ($(getprop ro.soc.model), '
            'Android $(getprop ro.build.version.release))"; '
            f'echo "free=$(df -k {TEMPORARY} | tail -n 1)"; cd {tool.folder} 2>/dev/null; '
            f'echo "build=$(sha256sum {tool.identity} 2>/dev/null)"; '
            f'for f in {needs}; do test -e {tool.folder}/$f || echo "lacks=$f"; done'
        )
        lines = [line.partition("=") for line in self._shell(asked, ANSWER_S).splitlines()]
        facts = {key: value.strip() for key, _, value in lines if key in ("phone", "free", "build")}
        fields = facts.get("free", "").split()
        return {
            "phone": facts.get("phone", "") or self.name,
            "free": str(int(fields[3]) * 1024) if len(fields) > 3 and fields[3].isdigit() else "",
            "build": facts.get("build", "")[:12] or "?",
            "lacks": ", ".join(value.strip() for key, _, value in lines if key == "lacks"),
        }

    def _check(self, tool: Tool, facts: dict[str, str], bundle: Bundle) -> None:
        if facts["lacks"]:
            raise GraphoptError(
                f"device {self.name}: {facts['lacks']} missing in {tool.folder} on the phone; {tool.source}; then: "
                f"adb push FILE {tool.folder}/ and adb shell chmod +x {tool.folder}/{tool.name}"
            )
        needed = sum(file.bytes for file in bundle.manifest.files) + SPARE
        if facts["free"] and int(facts["free"]) < needed:
            raise GraphoptError(
                f"device {self.name}: no space on the device: {int(facts['free']) / 2**20:.1f} MiB are free, "
                f"{needed / 2**20:.1f} MiB are needed; make room there"
            )

    def _copy(self, bundle: Bundle, call: Call, folder: str) -> None:
        names = [file.name for file in bundle.manifest.files]
        places = sorted({str(Path(name).parent) for name in names})
        self._shell(f"mkdir -p {' '.join(shlex.quote(f'{folder}/{place}') for place in places)}", ANSWER_S)
        with tempfile.TemporaryDirectory(prefix="graphopt-adb-") as temporary:
            for name, content in call.extra.items():
                (Path(temporary) / name).write_bytes(content)
            here = [(bundle.folder / name, name) for name in names]
            here += [(Path(temporary) / name, name) for name in call.extra]
            for path, name in here:
                self._adb(["push", str(path), f"{folder}/{name}"], COPY_S)

    def _run(self, call: Call, folder: str, request: Request) -> str:
        """What the tool prints. The phone itself removes the folder, should the cable be out when it ends."""
        script = f"cd {folder} && trap 'rm -rf {folder}' EXIT HUP TERM; {{ {call.command}; }} 2>&1; echo {_STATUS}$?"
        output = self._shell(script, request.limit_s)
        head, marked, status = output.rpartition(_STATUS)
        if not marked:
            raise GraphoptError(f"device {self.name}: the phone is gone: {_last(output)}; {_KEPT}")
        if status.strip() != "0":
            raise GraphoptError(
                f"device {self.name}: {call.tool.name} ended with status {status.strip()}: {_last(head)}"
            )
        return head

    def _parse(self, call: Call, output: str) -> Parsed:
        try:
            return call.read(output)
        except GraphoptError as error:
            raise GraphoptError(f"device {self.name}: {error}") from error

    @contextmanager
    def _removed_at_the_end(self, folder: str) -> Iterator[None]:
        """The folder goes, whatever happens; a phone that is gone removes it itself, if its shell still runs."""
        try:
            yield
        except GraphoptError as error:
            try:
                self._shell(f"rm -rf {folder}", ANSWER_S)
            except GraphoptError:
                raise GraphoptError(f"{error}; {folder} may be left there") from error
            raise
        except BaseException:  # the user stops us
            self._shell(f"rm -rf {folder}", ANSWER_S)
            raise
        self._shell(f"rm -rf {folder}", ANSWER_S)

    def _shell(self, script: str, limit_s: float) -> str:
        return self._adb(["shell", script], limit_s)

    def _adb(self, arguments: Sequence[str], limit_s: float) -> str:
        adb = shutil.which("adb")
        if adb is None:
            raise GraphoptError(f"device {self.name}: adb is not on this machine; {_GET_ADB}")
        try:
            done = subprocess.run(
                [adb, *self._which, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise GraphoptError(
                f"device {self.name}: no end of adb {arguments[0]} within {limit_s:g} s, and stopped; raise --limit, "
                f"lower --runs, or plug the phone in again; {_KEPT}"
            ) from error
        output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        if done.returncode:
            raise GraphoptError(f"device {self.name}: {_meaning(done.stderr.decode(errors='replace') or output)}")
        return output


def _meaning(said: str) -> str:
    if "No space left" in said:
        return "no space on the device; make room there"
    for words, meaning in _STATES:
        if words in said:
            return meaning
    return f"adb fails ({_last(said)}); is the phone still plugged in? {_KEPT}"


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
