"""TVM's tensor intrinsics, imported in 2 s instead of 27."""

from __future__ import annotations

import inspect
import sys
from types import FrameType


def import_intrinsics() -> None:
    """Their 496 scripts ask for the whole call stack with source lines, of which the parser needs the frames alone."""
    complete = inspect.stack
    inspect.stack = _frames
    try:
        import tvm.s_tir.tensor_intrin  # noqa: F401
    finally:
        inspect.stack = complete


def _frames(context: int = 1) -> list[inspect.FrameInfo]:
    frame: FrameType | None = sys._getframe(1)
    found: list[inspect.FrameInfo] = []
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found
