"""In which numbers a network computes on a target: `fp32`, `fp16`, or integers as `w8a8`, bits of weights and of
activations."""

from __future__ import annotations

from typing import Any, Literal

Precision = Literal["fp32", "fp16", "w8a16", "w8a8"]
Float = Literal["float16", "float32"]
FLOATS: dict[str, Float] = {"fp32": "float32", "fp16": "float16"}  # precisions without integers, and their type
FLOAT_OF: dict[Float, Precision] = {"float32": "fp32", "float16": "fp16"}


def is_integer(precision: Precision) -> bool:
    """Whether a network has to be quantised for it."""
    return precision not in FLOATS


def refuse_dtype(content: Any) -> Any:
    """ValueError for a target's file that says `dtype`, as they did once."""
    if isinstance(content, dict) and "dtype" in content:
        now = FLOAT_OF.get(content["dtype"], "fp32, fp16, w8a16 or w8a8")
        raise ValueError(f"key 'dtype' is now called 'precision': write 'precision: {now}' in its place")
    return content
