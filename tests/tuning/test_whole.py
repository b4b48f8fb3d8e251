"""Whole networks over TVM's RPC: what is said where there is no server. test_tvm_phone.py times a real one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from graphopt.tuning.whole import NoServerError, time_whole


def test_no_server_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NoServerError, match=f"no TVM RPC server answers at 127.0.0.1:{port}"):
        time_whole(tmp_path / "mine.so", "cpu", [((1, 3, 8, 8), "float32")], ("127.0.0.1", port), 5, 60, 0.1)
