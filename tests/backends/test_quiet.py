"""What libraries write past Python is lost meanwhile, and nothing after it."""

from __future__ import annotations

import ctypes
import os

import pytest

from graphopt.backends.quiet import quiet


@pytest.mark.parametrize("output", [1, 2])
def test_one_output_alone_is_silent(output: int, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet(output):
        os.write(output, b"lost")
        os.write(3 - output, b"the other one")
        ctypes.CDLL(None).puts(b"" if output == 2 else b"kept back by C")
    os.write(output, b"after")
    said = capfd.readouterr()
    assert (said.out.strip(), said.err.strip()) == (
        ("after", "the other one") if output == 1 else ("the other one", "after")
    )


def test_after_an_error_it_is_heard_again(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="went wrong"), quiet(2):
        raise ValueError("went wrong")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
