"""What this machine lacks for a target, and options that mean nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError

NOBODY = ("127.0.0.1", 9)


def test_each_backend_looks_for_what_it_needs(tmp_path: Path) -> None:
    found = {
        name: [one.what for one in open_backend(load_target(name), CostCache(tmp_path)).check()]
        for name in ("host-onnxruntime", "host-litert", "host-mnn", "host-tvm", "sm8650-hexagon")
    }
    assert found == {
        "host-onnxruntime": ["onnxruntime"],
        "host-litert": ["ai-edge-litert", "litert-torch"],
        "host-mnn": ["MNN"],
        "host-tvm": ["apache-tvm", "apache-tvm-ffi", "C++ compiler"],
        "sm8650-hexagon": ["onnxruntime-qnn", "emulator of the NPU"],
    }


@pytest.mark.parametrize("name", ["host-tvm", "sm8650-adreno750"])
def test_a_tracker_where_nobody_answers(tmp_path: Path, name: str) -> None:
    found = open_backend(load_target(name), CostCache(tmp_path)).check(NOBODY, "phone")
    (row,) = [one for one in found if one.what == "tracker"]
    assert (row.state, row.found.partition(" (")[0]) == ("missing", "no TVM RPC tracker answers at 127.0.0.1:9")
    assert row.do.startswith("start one: python -m tvm.exec.rpc_tracker")


@pytest.mark.parametrize("name", ["host-tvm", "sm8650-adreno750"])
@pytest.mark.parametrize(
    ("tracker", "key", "message"),
    [
        (NOBODY, None, "--tracker 127.0.0.1:9 needs --key, what the tracker calls the device"),
        (None, "phone", "--key phone needs --tracker HOST:PORT, where devices of that name register"),
    ],
)
def test_a_tracker_and_a_key_go_together(
    tmp_path: Path, name: str, tracker: tuple[str, int] | None, key: str | None, message: str
) -> None:
    with pytest.raises(GraphoptError) as caught:
        open_backend(load_target(name), CostCache(tmp_path)).check(tracker, key)
    assert str(caught.value) == message


def test_an_npu_has_no_tracker(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="sm8650-hexagon is reached over no tracker; leave out --tracker"):
        open_backend(load_target("sm8650-hexagon"), CostCache(tmp_path)).check(NOBODY, "phone")
