"""A Linux board over SSH, `ssh://[user@]host[:port]`, by the user's own OpenSSH: its keys, agent and config hold."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from graphopt.backends.measuring import median_interval
from graphopt.cost.measured import Reading
from graphopt.devices import on_board
from graphopt.devices.base import Device, Request
from graphopt.devices.inputs import input_shapes
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle

_ADDRESS = re.compile(
    r"^//(?:(?P<user>[^@/:\s]+)@)?(?P<host>\[[0-9a-fA-F:.]+\]|[^@/:\s-][^@/:\s]*)(?::(?P<port>\d+))?/?$"
)
OPTIONS = {  # no question is asked, and a board that is gone is noticed
    "BatchMode": "yes", "ConnectTimeout": "15", "ServerAliveInterval": "5", "ServerAliveCountMax": "3",
}  # fmt: skip
SPARE = 1 << 20  # bytes that a board needs besides the files
GRACE_S = 30.0  # for connecting and copying, beyond the limit of the runs

# What the board's shell runs, without a quote of its own. Whatever ends it, also a connection that breaks, removes the
# folder: with nobody to listen, the next line that is printed ends the Python, and the shell goes on to its trap. The
# runtime's own temporary files go there, too.
_FOLDER = (
    'd=$(mktemp -d "${{TMPDIR:-/tmp}}/graphopt-XXXXXX") || exit 94; trap "rm -rf $d" EXIT; '
    'trap "exit 1" HUP INT TERM PIPE; export TMPDIR=$d; '
)
_PROBE = "command -v {python} >/dev/null || exit 93; " + _FOLDER + "{python} - probe {format}"
_RUN = _FOLDER + ("tar -xf - -C $d || exit 95; {python} $d/on_board.py run {format} $d/{file} {arguments} </dev/null")
_SHELL_SAYS = {93: "python", 94: "folder", 95: "copy"}
_NO_LOGIN = "log in once by hand: "
_REFUSALS = (  # what OpenSSH says -> what that means, and what to do
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one known here; where the board was installed "
     "anew, forget the old one: ssh-keygen -R {known}"),
    ("Host key verification failed", "its host key is not known here; " + _NO_LOGIN + "{by_hand}"),
    ("Permission denied", "it refuses the login; ssh must log in without a password: ssh-copy-id {by_hand_to}"),
    ("Too many authentication failures", "it refuses the login; name the key in ~/.ssh/config (IdentitiesOnly yes)"),
    ("Could not resolve hostname", "no machine of that name is known here"),
    ("Connection refused", "nothing listens there; is sshd running, and on this port?"),
    ("timed out", "no answer; is it on, and in this network?"),
    ("No route to host", "no way leads there; is it on, and in this network?"),
    ("Network is unreachable", "no way leads there; is it on, and in this network?"),
)  # fmt: skip
_GONE = ("Connection to", "Connection closed", "Connection reset", "Broken pipe", "send disconnect", "not responding")


@dataclass(frozen=True)
class _Ended:
    """How a command on the board ended: its status, the last answer, and the last words on stderr."""

    status: int
    answer: dict[str, Any]
    errors: str
    overdue: bool
    began: bool


class Board(Device):
    """Python and the bundle's runtime must be there; nothing of graphopt need be."""

    def __init__(self, address: str):
        found = _ADDRESS.match(address)
        if not found or not 0 < int(found["port"] or 22) < 65536:
            raise GraphoptError(
                f"--device 'ssh:{address}': expected ssh://[user@]host[:port], e.g. ssh://pi@board:2222"
            )
        self.name = f"ssh:{address}"
        self._host = found["host"].strip("[]")
        self._port = found["port"]
        self._to = f"{found['user']}@{self._host}" if found["user"] else self._host

    def measure(self, bundle: Bundle, request: Request, say: Progress) -> Reading:
        form = bundle.manifest.format
        if form not in on_board.RUNTIMES or bundle.manifest.delegate == "gpu":
            known = ", ".join(on_board.RUNTIMES)
            what = f"a file of the format {form}" + (" for the GPU" if bundle.manifest.delegate == "gpu" else "")
            raise GraphoptError(
                f"device {self.name}: boards run {known} on the CPU, and this bundle holds {what}; build for a target "
                "of that kind, or measure on a phone (adb:)"
            )
        say(0.0, "looks for the runtime")
        self._check_room(self._probe(form, request), bundle)
        say(0.02, "copies the bundle")
        found = self._run(bundle, request, say)
        times = found["times_ms"]
        return Reading(
            median(times), *median_interval(times), "median", len(times), found["device"], found["runtime"],
            threads=request.threads, peak_memory_bytes=found["memory"],
        )  # fmt: skip

    def _probe(self, form: str, request: Request) -> dict[str, Any]:
        script = Path(on_board.__file__).read_bytes()
        with tempfile.TemporaryFile() as given:
            given.write(script)
            given.seek(0)
            ended = self._ssh(_PROBE.format(python=_plain(request.python), format=form), given, GRACE_S, silent)
        found: dict[str, Any] = self._answer(ended, request)
        return found

    def _check_room(self, found: dict[str, Any], bundle: Bundle) -> None:
        needed = 2 * sum(file.bytes for file in bundle.manifest.files) + SPARE  # the runtime may map a copy
        if found["free"] < needed:
            raise GraphoptError(
                f"device {self.name}: no space on the device: {found['free'] / 2**20:.1f} MiB are free for temporary "
                f"files, {needed / 2**20:.1f} MiB are needed; make room, or set TMPDIR there"
            )

    def _run(self, bundle: Bundle, request: Request, say: Progress) -> dict[str, Any]:
        names = [file.name for file in bundle.manifest.files]
        specs = json.dumps([[one.name, shape, one.dtype] for one, shape in input_shapes(bundle.manifest)])
        arguments = [specs, request.runs, request.threads, request.limit_s]
        quoted = " ".join(_plain(str(argument)) for argument in arguments)
        with tempfile.TemporaryFile() as given:
            with tarfile.open(fileobj=given, mode="w") as archive:
                _add(archive, "on_board.py", Path(on_board.__file__).read_bytes())
                for name in names:
                    _add(archive, name, (bundle.folder / name).read_bytes())
            given.seek(0)
            command = _RUN.format(
                python=_plain(request.python), format=bundle.manifest.format, file=_plain(names[0]), arguments=quoted
            )
            ended = self._ssh(command, given, request.limit_s + GRACE_S, say)
        return self._answer(ended, request)

    def _ssh(self, command: str, given: IO[bytes], limit_s: float, say: Progress) -> _Ended:
        """Runs a command of the POSIX shell there, whatever the user's own shell is."""
        client = shutil.which("ssh")
        if client is None:
            raise GraphoptError(f"device {self.name} needs OpenSSH's client here: apt-get install openssh-client")
        options = [part for key, value in OPTIONS.items() for part in ("-o", f"{key}={value}")]
        port = ["-p", self._port] if self._port else []
        line = [client, "-T", *options, *port, "--", self._to, f"sh -c {shlex.quote(command)}"]
        overdue = threading.Event()
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(line, stdin=given, stdout=subprocess.PIPE, stderr=errors) as process,
        ):

            def stop() -> None:
                overdue.set()
                process.kill()

            clock = threading.Timer(limit_s, stop)
            clock.start()
            try:
                answer, began = _listen(process.stdout, say)
                process.wait()
            finally:
                clock.cancel()
                process.kill()  # also where the user stops us: the board cleans up once nobody listens
            errors.seek(0)
            words = errors.read().decode(errors="replace")
        return _Ended(process.returncode, answer, words, overdue.is_set(), began)

    def _answer(self, ended: _Ended, request: Request) -> dict[str, Any]:
        """What the board has found.

        Raises:
            GraphoptError: it has not.
        """
        where = f"device {self.name}"
        if "found" in ended.answer:
            found: dict[str, Any] = ended.answer["found"]
            return found
        if "missing" in ended.answer:
            raise GraphoptError(f"{where}: on the board, {ended.answer['missing']} (another Python there: --python)")
        if "failed" in ended.answer:
            raise GraphoptError(f"{where}: the runtime on the board fails: {ended.answer['failed']}")
        if ended.overdue or ended.status == 128 + 14:  # SIGALRM, as a shell says it
            raise GraphoptError(
                f"{where}: not done within {request.limit_s:g} s, and stopped; raise --limit, or lower --runs"
            )
        raise GraphoptError(f"{where}: {self._reason(ended, request)}")

    def _reason(self, ended: _Ended, request: Request) -> str:
        last = (ended.errors.strip().splitlines() or ["it said nothing"])[-1].strip()[:200]
        if "No space left" in ended.errors:
            return "no space on the device; make room, or set TMPDIR there"
        if _SHELL_SAYS.get(ended.status) == "python":
            return f"{request.python} is not on the board; install Python 3.7 or newer, or name it: --python PATH"
        if ended.status in _SHELL_SAYS:
            return f"the bundle cannot be copied: {last}"
        if ended.status != 255:
            return f"the board's Python ended with status {ended.status}: {last}"
        port = f" -p {self._port}" if self._port else ""
        names = {
            "by_hand": f"ssh{port} {self._to}",
            "by_hand_to": f"{port} {self._to}".strip(),
            "known": f"'[{self._host}]:{self._port}'" if self._port else self._host,
        }
        if not ended.began:
            for said, meaning in _REFUSALS:
                if said in ended.errors:
                    return meaning.format(**names)
        if ended.began or any(said in ended.errors for said in _GONE):
            return (
                f"the connection broke ({last}); the board removes what was copied as soon as it notices; earlier "
                "measurements are kept, run the same command again"
            )
        return f"ssh fails: {last}"


def _listen(lines: IO[bytes] | None, say: Progress) -> tuple[dict[str, Any], bool]:
    """The last answer that is no progress, and whether anything was said at all."""
    answer: dict[str, Any] = {}
    began = False
    for line in lines or io.BytesIO():
        try:
            content = json.loads(line)
        except ValueError:  # what a login script prints
            continue
        if not isinstance(content, dict):
            continue
        began = True
        if "said" in content:
            say(min(0.99, 0.05 + 0.94 * content["share"]), content["said"])
        else:
            answer = content
    return answer, began


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _plain(text: str) -> str:
    """`text` as one word of the board's shell."""
    return shlex.quote(text)
