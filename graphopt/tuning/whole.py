"""A whole network on a device over TVM's RPC: its library is sent there, and timed run by run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphopt.errors import GraphoptError, last_line

Shape = tuple[Sequence[int], str]  # and the dtype
_SILENT = "no TVM RPC server answers"
_READY_S = 120.0  # for a process to import TVM


class NoServerError(GraphoptError):
    """Nothing that is a server answers."""


def time_whole(
    library: Path, device: str, inputs: Sequence[Shape], server: tuple[str, int], runs: int, limit_s: float,
    patience_s: float,
) -> list[float]:  # fmt: skip
    """Milliseconds of single runs of `library`, a relax executable, on the `device` (`opencl`, `cpu`) of a server.

    In a process of its own: TVM's client waits for as long as a device likes. `patience_s`: until a server that is
    being started answers.

    Raises:
        NoServerError: no server there.
        GraphoptError: the device refuses the library, is gone, or is not done within `limit_s` seconds.
    """
    from tvm.support.popen_pool import PopenWorker

    worker = PopenWorker()
    overdue = threading.Timer(limit_s + patience_s + 5, worker.kill)
    try:
        worker.send(_get_ready, timeout=_READY_S)
        worker.recv()
        overdue.start()
        work = (str(library), device, inputs, server, runs, limit_s, patience_s)
        worker.send(_time, work, timeout=limit_s + patience_s)
        return [1e3 * float(second) for second in worker.recv()]
    except TimeoutError as error:
        raise GraphoptError(f"not done within {limit_s:g} s, and stopped; raise --limit, or lower --runs") from error
    except Exception as error:  # whatever TVM's client meets, or that it has crashed
        said = last_line(error)
        if _SILENT in said:
            raise NoServerError(said) from error
        raise GraphoptError(f"TVM's RPC fails: {said}") from error
    finally:
        overdue.cancel()
        worker.kill()


def _get_ready() -> None:
    """Imports what timing needs, before any clock runs."""
    import tvm.relax
    import tvm.rpc.client  # noqa: F401


def _time(
    library: str, device: str, inputs: Sequence[Shape], server: tuple[str, int], runs: int, limit_s: float,
    patience_s: float,
) -> list[float]:  # fmt: skip
    import numpy as np
    import tvm
    from tvm import relax

    session = _connected(server, limit_s, patience_s)
    name = Path(library).name
    session.upload(library, name)
    where = session.device(device, 0)
    machine = relax.VirtualMachine(session.load_module(name), where)
    random = np.random.default_rng(0)
    given = [tvm.runtime.tensor(random.random(shape).astype(dtype), where) for shape, dtype in inputs]
    machine.time_evaluator("main", where, number=1, repeat=3)(*given)  # warms up
    found: list[float] = list(machine.time_evaluator("main", where, number=1, repeat=runs)(*given).results)
    session.remove(name)
    return found


def _connected(server: tuple[str, int], limit_s: float, patience_s: float) -> Any:
    """A session with the server, as soon as it answers: what forwards its port takes connections, and drops them."""
    from tvm.rpc.client import connect

    until = time.monotonic() + patience_s
    while True:
        try:
            return connect(*server, session_timeout=limit_s)
        except Exception as error:  # refused, or dropped
            if time.monotonic() > until:
                raise ConnectionError(f"{_SILENT} at {server[0]}:{server[1]} ({last_line(error)})") from error
            time.sleep(0.2)
