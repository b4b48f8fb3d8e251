"""What is finished is kept: a second call, or one after a kill, does only what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import onnx_model

from graphopt.cost.cache import CostCache
from graphopt.ir.canonical import canonical
from graphopt.quantise import tensors, trials
from graphopt.quantise.memory import Memory, hash_of_arrays
from graphopt.quantise.mixed import Allowed
from graphopt.quantise.quantise import Quantised, quantise

TEXT = "(float[1,3,8,8] x) => (float[1,3,8,8] y) { a = Conv(x, w) b = Relu(a) y = Conv(b, w) }"
IMAGES = [np.random.default_rng(seed).random((1, 3, 8, 8), dtype=np.float32) for seed in range(2)]


def model(seed: int = 0) -> onnx.ModelProto:
    return canonical(onnx_model(TEXT, {"w": (3, 3, 1, 1)}, seed), None, "model")


class Counting:
    """A judge that counts, and is killed at the call `ends`."""

    def __init__(self, ends: int = 0):
        self.calls, self.ends = 0, ends

    def __call__(self, made: onnx.ModelProto) -> float:
        self.calls += 1
        if self.calls == self.ends:
            raise KeyboardInterrupt
        return float(len(made.graph.node) + self.calls / 100)


def made(judge: Counting, folder: Path, network: onnx.ModelProto | None = None, about: str = "judge") -> Quantised:
    cache = Memory(CostCache(folder), about)
    return quantise(network or model(), IMAGES, judge, memory=cache, allowed=Allowed(lambda one, two: 1.0, 0.5))


def test_a_second_call_judges_and_calibrates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(judge := Counting(), tmp_path)
    assert judge.calls > 1 + 3  # methods that differ, the network in float, groups kept wide
    monkeypatch.setattr(trials, "counted", None)
    again = made(judge := Counting(), tmp_path)
    assert judge.calls == 0
    assert (again.method, again.scores, again.ranges) == (first.method, first.scores, first.ranges)
    assert again.widened is not None
    assert first.widened is not None
    assert again.widened.gains == first.widened.gains
    assert again.model.SerializeToString() == first.model.SerializeToString()


def test_a_kill_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    made(whole := Counting(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        made(Counting(ends=6), tmp_path / "killed")
    made(rest := Counting(), tmp_path / "killed")
    assert rest.calls == whole.calls - 5


@pytest.mark.parametrize("change", ["network", "judge"])
def test_another_network_or_judge_is_asked_anew(tmp_path: Path, change: str) -> None:
    made(first := Counting(), tmp_path)
    made(
        other := Counting(),
        tmp_path,
        model(1) if change == "network" else None,
        "other" if change == "judge" else "judge",
    )
    assert other.calls == first.calls


def test_ranges_are_kept_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(Counting(), tmp_path / "whole").ranges
    monkeypatch.setattr(tensors, "_AT_ONCE", 1)  # byte: one tensor at a time
    counted, asked = trials.counted, list[str]()

    def killed(network: onnx.ModelProto, names: list[str], *rest: object) -> object:
        asked.extend(names)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return counted(network, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trials, "counted", killed)
    with pytest.raises(KeyboardInterrupt):
        made(Counting(), tmp_path / "parts")
    assert made(Counting(), tmp_path / "parts").ranges == whole
    assert asked == ["x", "a", "b", "b", "y"]


def test_hashes_tell_images_apart() -> None:
    first, second = IMAGES
    assert len({hash_of_arrays(images) for images in ([first], [second], [first, second], [first[0]], [])}) == 5
    assert hash_of_arrays([first]) == hash_of_arrays([first.copy()])
