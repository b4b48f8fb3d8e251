"""Finds a device by its scheme: `ssh://...`, `adb:...`, `aihub:...`."""

from __future__ import annotations

from importlib import import_module

from graphopt.devices.base import Device
from graphopt.errors import GraphoptError

SCHEMES = {
    "ssh": "graphopt.devices.ssh:Board",
    "adb": "graphopt.devices.adb:Phone",
    "aihub": "graphopt.devices.aihub:Hub",
}
EXAMPLES = "ssh://user@board, adb:SERIAL (adb: for the only phone), or 'aihub:Samsung Galaxy S24'"


def find_device(text: str) -> Device:
    """The device that `text` names. Nothing is reached yet.

    Raises:
        GraphoptError: no such scheme, or an address that it does not take.
    """
    scheme, colon, address = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise GraphoptError(f"--device '{text}': expected {EXAMPLES}")
    module, _, name = SCHEMES[scheme].partition(":")
    made: Device = getattr(import_module(module), name)(address)
    return made
