"""adb itself: a client that is missing, phones that are not there, and folders that go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from phones import FakePhone, fake_phone

from graphopt.devices.adb_client import Adb
from graphopt.errors import GraphoptError


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    made = fake_phone(tmp_path / "phone")
    monkeypatch.setenv("PATH", f"{made.path}:{os.environ['PATH']}")
    return made


def mistake(serial: str = "PHONE1") -> str:
    with pytest.raises(GraphoptError) as error:
        Adb(f"adb:{serial}", serial).call(["get-state"])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_adb_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "adb is not on this machine; install Android's platform tools, https://developer" in mistake()


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("error: no devices/emulators found", "no phone is plugged in"),
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "say yes on its screen"),
        ("error: device offline", "the phone is offline"),
        ("error: more than one device/emulator", "name one, as adb devices lists it"),
    ],
)
def test_a_phone_that_is_not_there(phone: FakePhone, words: str, meaning: str) -> None:
    phone.fail(words)
    assert meaning in mistake()
    assert len(phone.asked) == 1


def test_a_serial_that_nobody_has(phone: FakePhone) -> None:
    assert "no phone of that serial is plugged in" in mistake("PHONE2")


def test_a_folder_goes_also_where_the_user_stops_us(phone: FakePhone) -> None:
    def use() -> None:
        with Adb("adb:", "").folder() as folder:
            assert (phone.folder / Path(folder).name).is_dir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert not list(phone.folder.glob("graphopt-*"))


def test_what_the_phone_is(phone: FakePhone) -> None:
    from graphopt.devices.phone_tools import LITERT

    facts = Adb("adb:", "").look(LITERT)
    assert (facts.phone, facts.build, facts.lacks) == ("Maker One (SM8650, Android 14)", "?", "benchmark_model")
    assert facts.free is not None
    assert facts.free > 0
