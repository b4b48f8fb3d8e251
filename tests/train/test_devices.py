"""The device that a configuration names."""

import pytest
import torch

from graphopt.errors import GraphoptError
from graphopt.train.devices import find_device


@pytest.mark.parametrize(
    ("name", "gpu", "expected"),
    [
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_first_gpu_where_there_is_one(name: str, gpu: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert find_device(name) == torch.device(expected)


def test_a_gpu_that_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GraphoptError, match="device: cuda, but torch finds no GPU; write device: cpu"):
        find_device("cuda")
