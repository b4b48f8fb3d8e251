"""The memory that a network takes on this machine: how far a process of its own rises while it runs it.

    python -m graphopt.backends.peak REQUEST.json

is that process. It prints bytes: its peak while it runs, less what was resident when it had run the network before and
let go of it. So neither the runtime nor its code, of which a network calls some, is counted.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from graphopt.backends.base import Array, Artefact
    from graphopt.backends.host import HostBackend
    from graphopt.cost.target import Target

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RUNS = 3  # an arena grows in the first, and may grow once more in the next


def peak_bytes(target: Target, artefact: Artefact, inputs: Sequence[Array]) -> int | None:
    """Bytes at the peak, of weights, image and all that the runtime sets aside; None where the system says nothing.

    Raises:
        GraphoptError: the process ended before it had run the network.
    """
    from graphopt.errors import GraphoptError

    if not _CLEAR.exists():
        return None
    request: dict[str, Any] = {
        "target": target.model_dump(mode="json"),
        "files": [str(path) for path in artefact.files],
        "manifest": artefact.manifest,
        "inputs": [[array.shape, array.dtype.name] for array in inputs],
    }
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request))
        command = [sys.executable, "-m", "graphopt.backends.peak", str(path)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise GraphoptError(f"target {target.name}: its memory cannot be measured: {reason}")
    return int(done.stdout.split()[-1])


def main(path: Path) -> None:
    """Loads what the request names, runs it, and prints how far this process rose."""
    from graphopt.backends.base import Artefact
    from graphopt.backends.host import HostBackend
    from graphopt.backends.measuring import pinned
    from graphopt.backends.registry import backend_class
    from graphopt.cost.cache import CostCache

    request = json.loads(path.read_text())
    kind = backend_class(request["target"]["kind"])
    backend = kind(kind.target_type.model_validate(request["target"]), CostCache(path.parent / "costs"))
    assert isinstance(backend, HostBackend)
    artefact = Artefact(tuple(Path(name) for name in request["files"]), request["manifest"])
    with pinned(backend.target.threads):
        _run(backend, artefact, request["inputs"])
        idle = _settled()
        print(_run(backend, artefact, request["inputs"]) - idle)


def _run(backend: HostBackend[Any], artefact: Artefact, inputs: Sequence[Any]) -> int:
    """Bytes that are resident at the peak of the runs. What loading needs for a moment is no part of it."""
    loaded = backend.load(artefact)
    images = [np.random.default_rng(0).random(shape, np.float32).astype(dtype) for shape, dtype in inputs]
    _settled()
    for _ in range(_RUNS):
        loaded(images)
    return _resident("VmHWM")


def _settled() -> int:
    """Gives back what was freed, forgets earlier peaks, and says what is resident."""
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)
    _CLEAR.write_text("5")
    return _resident("VmRSS")


def _resident(key: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
