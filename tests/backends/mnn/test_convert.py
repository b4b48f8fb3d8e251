"""What becomes of networks that MNN refuses, crashes on, or computes wrongly: a node is named, and nothing written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import onnx_model
from mnn import needs_mnn

from graphopt.backends.mnn.convert import convert
from graphopt.errors import GraphoptError

IMAGE = "float[1,4,8,8]"


def network(node: str, out: str = IMAGE, **weights: Any) -> onnx.ModelProto:
    """The node between two others."""
    return onnx_model(
        f'({IMAGE} x) => ({out} y) {{ ["in"] a = Relu(x) ["it"] b = {node} ["out"] y = Neg(b) }}', weights
    )


@needs_mnn
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (network("Hardmax<axis=1>(a)"), r"refuses it \(These Op Not Support: ONNX::Hardmax\), from Hardmax \(it\) on"),
        (network('Pad<mode="wrap">(a, p)', "float[1,4,10,8]", p=np.array([0, 0, 1, 0, 0, 0, 1, 0])),
         r"refuses it \(MNN only support \['constant', 'reflect'\] Pad mode; .*\), from Pad \(it\) on"),
        (network("AveragePool<kernel_shape=[3,3], pads=[0,1,2,1], count_include_pad=1>(a)"),
         r"computes something else \(by 0\.\d+ of the largest value\), from AveragePool \(it\) on"),
        (network("MaxPool<kernel_shape=[3,3], dilations=[2,2]>(a)", "float[1,4,4,4]"),
         r"gives 1x4x6x6 where 1x4x4x4 is right, from MaxPool \(it\) on"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(model: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    found = convert(model, "float32", tmp_path / "a.mnn")
    assert re.fullmatch(f"MNN 3\\.6\\.1 {words}", found), found
    assert "\n" not in found
    assert list(tmp_path.iterdir()) == []


@needs_mnn
def test_a_crash_takes_only_the_child_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.backends.mnn.convert.respelled", lambda model: model)
    found = convert(network("AveragePool<kernel_shape=[3,3]>(a)", "float[1,4,6,6]"), "float32", tmp_path / "a.mnn")
    assert found == "MNN 3.6.1 crashes with SIGFPE, from AveragePool (it) on"


def test_a_network_without_nodes(tmp_path: Path) -> None:
    empty = onnx_model(f"({IMAGE} x) => ({IMAGE} x) {{ }}")
    assert convert(empty, "float32", tmp_path / "a.mnn") == "there is nothing to convert: the network has no nodes"


def test_what_is_no_image(tmp_path: Path) -> None:
    model = onnx_model("(float[1,4,8,8] x, int64[2] axes) => (float[1,4,1,1] y) { y = ReduceMean(x, axes) }")
    assert convert(model, "float32", tmp_path / "a.mnn").startswith("axes is no float32 image")


@needs_mnn
@pytest.mark.parametrize(
    ("status", "message"),
    [(-9, "MNN was killed over a network"), (None, "MNN over a network took longer than 900 s; convert it for")],
)
def test_what_says_nothing_of_the_network(
    status: int | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine out of memory or of time is no reason to blame a node."""

    def child(command: list[str], **rest: Any) -> subprocess.CompletedProcess[str]:
        if status is None:
            raise subprocess.TimeoutExpired(command, 900)
        return subprocess.CompletedProcess(command, status, "", "")

    monkeypatch.setattr("graphopt.backends.children.subprocess.run", child)
    with pytest.raises(GraphoptError, match=message):
        convert(network("Abs(a)"), "float32", tmp_path / "a.mnn")
