"""In which numbers a network computes on a target: `fp32`, `fp16`, or integers as `w8a8`, bits of weights and of
activations."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

Precision = Literal["fp32", "fp16", "w8a16", "w8a8"]
Float = Literal["float16", "float32"]
FLOATS: dict[str, Float] = {"fp32": "float32", "fp16": "float16"}  # precisions without integers, and their type
FLOAT_OF: dict[Float, Precision] = {"float32": "fp32", "float16": "fp16"}


def _of_known(value: Any) -> Any:
    """In one line, where a union would say two. What was found follows a plain value, but not one by target."""
    known = ", ".join(get_args(Precision))
    if not isinstance(value, dict):
        if value not in get_args(Precision):
            raise ValueError(f"expected one of {known}, or one for each target")
        return value
    for target, asked in value.items():
        if asked not in get_args(Precision):
            raise ValueError(f"expected one of {known} for target '{target}', found {asked!r}")
    return value


Precisions = Annotated[Precision | dict[str, Precision], BeforeValidator(_of_known)]  # for all targets, or by target


def is_integer(precision: Precision) -> bool:
    """Whether a network has to be quantised for it."""
    return precision not in FLOATS


def refuse_dtype(content: Any) -> Any:
    """ValueError for a target's file that says `dtype`, as they did once."""
    if isinstance(content, dict) and "dtype" in content:
        now = FLOAT_OF.get(content["dtype"], "fp32, fp16, w8a16 or w8a8")
        raise ValueError(f"key 'dtype' is now called 'precision': write 'precision: {now}' in its place")
    return content
