"""A graphopt command in two processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}",
        "--no-python", sys.executable, "-c", "from graphopt.cli import main; main()", *map(str, words),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
