"""Devices, and the precisions that they have."""

from __future__ import annotations

import pytest

from graphopt.errors import GraphoptError
from graphopt.quantise.rules import find_rules


def test_steps() -> None:
    assert find_rules("cpu", "w8a8")[1].steps == 255
    assert find_rules("qnn", "w8a16")[1].steps == 65535


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [
        ("npu", "w8a8", "unknown device 'npu'; did you mean 'cpu'?"),
        ("cpu", "w8a88", "unknown precision 'w8a88'; did you mean 'w8a8'"),
        ("cpu", "w8a16", "device 'cpu' has no kernels for w8a16; expected w8a8"),
    ],
)
def test_what_there_is_not(device: str, precision: str, said: str) -> None:
    with pytest.raises(GraphoptError, match=said.replace("?", r"\?")):
        find_rules(device, precision)
