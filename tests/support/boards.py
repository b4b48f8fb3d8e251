"""A board to log in to: a real sshd on this machine's loopback, with keys of its own, and an ssh that knows them."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = next((path for path in (shutil.which("sshd"), "/usr/sbin/sshd") if path and Path(path).exists()), None)
_LACKS = "no /usr/sbin/sshd: apt-get install openssh-server"
MISSING = "" if SSHD and shutil.which("ssh") and shutil.which("ssh-keygen") else _LACKS
_PRIVILEGES = Path("/run/sshd")  # sshd wants it when root starts it; Debian's service makes it, and nobody else


@dataclass(frozen=True)
class LoopbackBoard:
    """Where it listens, the folder that it copies to, and the file of host keys that the client knows."""

    address: str
    temporary: Path
    known_hosts: Path
    process: subprocess.Popen[bytes]


def write_client(folder: Path) -> Path:
    """A folder to put on PATH: OpenSSH's own client, with the keys of this board alone."""
    ssh = shutil.which("ssh")
    (folder / "bin").mkdir()
    config = f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
    config += "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
    (folder / "config").write_text(config)
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {folder}/config "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    return folder / "bin"


@contextmanager
def loopback_board(folder: Path) -> Iterator[LoopbackBoard]:
    """Starts it with keys, known hosts and a folder for temporary files of its own, in `folder`."""
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    temporary = folder / "tmp"
    temporary.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv TMPDIR={temporary}\n"
    )
    host = (folder / "host.pub").read_text().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
    made = os.geteuid() == 0 and not _PRIVILEGES.exists()
    if made:
        _PRIVILEGES.mkdir(mode=0o755)
    process = subprocess.Popen(
        [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=(folder / "log").open("wb")
    )
    try:
        _wait_for(port, process, folder / "log")
        address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        yield LoopbackBoard(address, temporary, folder / "known_hosts", process)
    finally:
        process.terminate()
        process.wait(timeout=10)
        if made:
            _PRIVILEGES.rmdir()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError(f"sshd ended: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("sshd does not listen")
