"""Devices by their scheme."""

from __future__ import annotations

import pytest

from graphopt.devices.adb import Phone
from graphopt.devices.aihub import Hub
from graphopt.devices.find import SCHEMES, find_device
from graphopt.devices.ssh import Board
from graphopt.errors import GraphoptError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ssh://pi@board:2222", Board),
        ("adb:R5CT", Phone),
        ("adb:", Phone),
        ("adb:192.168.0.7:5555", Phone),
        ("aihub:Galaxy S24", Hub),
    ],
)
def test_the_scheme_decides(text: str, kind: type) -> None:
    assert isinstance(find_device(text), kind)


@pytest.mark.parametrize("text", ["", "board", "usb:1", "SSH://board"])
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(GraphoptError, match=f"--device '{text}': expected ssh://user@board, adb:SERIAL"):
        find_device(text)


def test_every_scheme_has_its_device() -> None:
    assert list(SCHEMES) == ["ssh", "adb", "aihub"]
