"""A phone over adb, `adb:SERIAL`: the tool of the bundle's runtime runs there, where its user has put it."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.cost.measured import Reading
from graphopt.devices import tvm_phone
from graphopt.devices.adb_client import KEPT, Adb, Facts, last
from graphopt.devices.base import Device, Request
from graphopt.devices.parsers import Parsed
from graphopt.devices.phone_tools import Call, Tool, tool_call
from graphopt.errors import GraphoptError
from graphopt.progress import Progress

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle

SPARE = 8 << 20  # bytes that a phone needs besides the files
COPY_S = 600.0  # for one file
_STATUS = "graphopt-status="


class Phone(Device):
    """`address` is its serial; empty where it is the only one."""

    def __init__(self, address: str):
        if address and not re.fullmatch(r"[\w.:\[\]-]+", address):
            raise GraphoptError(f"--device 'adb:{address}': expected adb:SERIAL, as adb devices lists it")
        self.name = f"adb:{address}"
        self._adb = Adb(self.name, address)

    def measure(self, bundle: Bundle, request: Request, say: Progress) -> Reading:
        over_rpc = bundle.manifest.format in tvm_phone.FORMATS
        call = None if over_rpc else tool_call(bundle, request)
        tool = call.tool if call is not None else tvm_phone.TVM_RPC
        say(0.0, "looks for the phone and its tools")
        self._adb.call(["get-state"])
        facts = self._adb.look(tool)
        self._check(tool, facts, bundle)
        with self._adb.folder() as folder:
            if call is None:
                return tvm_phone.measure(self._adb, facts, folder, bundle, request, say)
            say(0.1, "copies the bundle")
            self._copy(bundle, call, folder)
            say(0.3, f"{call.tool.name} runs {request.runs} times")
            output = self._run(call, folder, request)
        found = self._parse(call, output)
        build = f"{call.tool.name}, {call.tool.identity} {facts.build}"
        return Reading(
            found.latency_ms, found.low_ms, found.high_ms, found.statistic, found.runs, facts.phone, build,
            bounds=found.bounds, threads=call.threads, peak_memory_bytes=found.peak_memory_bytes, units=found.units,
        )  # fmt: skip

    def _check(self, tool: Tool, facts: Facts, bundle: Bundle) -> None:
        if facts.lacks:
            raise GraphoptError(
                f"device {self.name}: {facts.lacks} missing in {tool.folder} on the phone; {tool.source}; then: "
                f"adb push FILE {tool.folder}/ and adb shell chmod +x {tool.folder}/{tool.name}"
            )
        needed = sum(file.bytes for file in bundle.manifest.files) + SPARE
        if facts.free is not None and facts.free < needed:
            raise GraphoptError(
                f"device {self.name}: no space on the device: {facts.free / 2**20:.1f} MiB are free, "
                f"{needed / 2**20:.1f} MiB are needed; make room there"
            )

    def _copy(self, bundle: Bundle, call: Call, folder: str) -> None:
        names = [file.name for file in bundle.manifest.files]
        places = sorted({str(Path(name).parent) for name in names})
        self._adb.shell(f"mkdir -p {' '.join(shlex.quote(f'{folder}/{place}') for place in places)}")
        with tempfile.TemporaryDirectory(prefix="graphopt-adb-") as temporary:
            for name, content in call.extra.items():
                (Path(temporary) / name).write_bytes(content)
            here = [(bundle.folder / name, name) for name in names]
            here += [(Path(temporary) / name, name) for name in call.extra]
            for path, name in here:
                self._adb.call(["push", str(path), f"{folder}/{name}"], COPY_S)

    def _run(self, call: Call, folder: str, request: Request) -> str:
        """What the tool prints. The phone itself removes the folder, should the cable be out when it ends."""
        script = f"cd {folder} && trap 'rm -rf {folder}' EXIT HUP TERM; {{ {call.command}; }} 2>&1; echo {_STATUS}$?"
        output = self._adb.shell(script, request.limit_s)
        head, marked, status = output.rpartition(_STATUS)
        if not marked:
            raise GraphoptError(f"device {self.name}: the phone is gone: {last(output)}; {KEPT}")
        if status.strip() != "0":
            raise GraphoptError(
                f"device {self.name}: {call.tool.name} ended with status {status.strip()}: {last(head)}"
            )
        return head

    def _parse(self, call: Call, output: str) -> Parsed:
        try:
            return call.read(output)
        except GraphoptError as error:
            raise GraphoptError(f"device {self.name}: {error}") from error
