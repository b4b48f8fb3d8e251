"""Questions to a TVM RPC tracker, each with a limit: TVM's own client waits for a minute, and says nothing."""

from __future__ import annotations

import socket
import struct
from typing import Any

from graphopt.errors import GraphoptError

Tracker = tuple[str, int]
ANSWER_S = 5.0


class NoTrackerError(GraphoptError):
    """Nothing that is a tracker answers."""


def parse_tracker(text: str) -> Tracker:
    """`HOST:PORT` as a pair."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise GraphoptError(f"--tracker '{text}': expected HOST:PORT, e.g. 192.168.0.10:9190")
    return host, int(port)


def devices(tracker: Tracker, key: str) -> list[str]:
    """The addresses of the devices that a tracker has under a key.

    Raises:
        NoTrackerError: no tracker there.
    """
    from tvm.rpc import base

    servers = _ask(tracker, [base.TrackerCode.SUMMARY], ANSWER_S)["server_info"]
    return [":".join(str(part) for part in server["addr"]) for server in servers if server["key"] == f"server:{key}"]


def free_devices(tracker: Tracker, key: str) -> int:
    """How many devices of a key wait for work."""
    from tvm.rpc import base

    queue = _ask(tracker, [base.TrackerCode.SUMMARY], ANSWER_S)["queue_info"]
    return int(queue.get(key, {"free": 0})["free"])


def request_device(tracker: Tracker, key: str, limit_s: float) -> tuple[str, int, str]:
    """Address and password of the next free device with that key; waits for one. TVM's client would connect at once,
    and not say to whom.
    """
    from tvm.rpc import base

    host, port, match = _ask(tracker, [base.TrackerCode.REQUEST, key, "", 1], limit_s)
    return str(host), int(port), str(match)


def _ask(tracker: Tracker, question: list[Any], limit_s: float) -> Any:
    from tvm.rpc import base

    host, port = tracker
    try:
        with socket.create_connection(tracker, timeout=limit_s) as connection:
            connection.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            if struct.unpack("<i", base.recvall(connection, 4))[0] != base.RPC_TRACKER_MAGIC:
                raise OSError("what answers is no tracker")
            base.sendjson(connection, question)
            status, answer = base.recvjson(connection)
            if status != base.TrackerCode.SUCCESS:
                raise OSError(f"it refuses the request {question[1:]}")
            return answer
    except (OSError, ValueError, TypeError) as error:
        raise NoTrackerError(
            f"no TVM RPC tracker answers at {host}:{port} ({error}); start one with: python -m tvm.exec.rpc_tracker "
            f"--host 0.0.0.0 --port {port}"
        ) from error
