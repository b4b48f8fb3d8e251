"""In which numbers a network computes on a target: `fp32`, `fp16`, or integers as `w8a8`, bits of weights and of
activations."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

Precision = Literal["fp32", "fp16", "w8a16", "w8a8"]
Float = Literal["float16", "float32"]
FLOATS: dict[str, Float] = {"fp32": "float32", "fp16": "float16"}  # precisions without integers, and their type
_OF_TYPE: dict[str, str] = {dtype: name for name, dtype in FLOATS.items()}


def _of_known(value: Any) -> Any:
    """In one line, where a union would say two."""
    asked = value.values() if isinstance(value, dict) else [value]
    if odd := [one for one in asked if one not in get_args(Precision)]:
        raise ValueError(f"'{odd[0]}' is none of {', '.join(get_args(Precision))}; one of them, or one for each target")
    return value


Precisions = Annotated[Precision | dict[str, Precision], BeforeValidator(_of_known)]  # for all targets, or by target


def is_integer(precision: Precision) -> bool:
    """Whether a network has to be quantised for it."""
    return precision not in FLOATS


def refuse_dtype(content: Any) -> Any:
    """ValueError for a target's file that says `dtype`, as they did once."""
    if isinstance(content, dict) and "dtype" in content:
        now = _OF_TYPE.get(str(content["dtype"]), "fp32, fp16, w8a16 or w8a8")
        raise ValueError(f"key 'dtype' is now called 'precision': write 'precision: {now}' in its place")
    return content
