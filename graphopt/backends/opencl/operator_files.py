"""Operators as rows of a CSV, read and written with their prices. `docs/costs.md` says what the columns mean."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from graphopt.atomic import replacing
from graphopt.backends.opencl.operators import TASKS, Operator, operator_price
from graphopt.errors import GraphoptError
from graphopt.kernels.target import GpuTarget

Row = dict[str, str]

_SIZES = ("N", "C", "H", "W", "K", "R", "S", "stride_h", "stride_w", "groups")
COLUMNS = ("task", "dtype", *_SIZES)
_MEASURED = ("us", "gmacs_per_s")
_PRICED = ("us", "low_us", "high_us", "provenance")


def read_operators(path: Path) -> list[tuple[Row, Operator]]:
    """The rows of a CSV with the columns `COLUMNS`, as they stand and as operators.

    Raises:
        GraphoptError: no such file, a column that is missing, or a row that describes no operator.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise GraphoptError(f"{path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
            rows = list(reader)
    except OSError as error:
        raise GraphoptError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise GraphoptError(f"{path} is no CSV file in UTF-8: {error}") from error
    return [(row, _operator(row, f"{path}, row {number}")) for number, row in enumerate(rows, 2)]


def write_prices(rows: Iterable[tuple[Row, Operator]], target: GpuTarget, path: Path) -> int:
    """Writes each row with `us`, `low_us`, `high_us` and `provenance`, and without the times that it came with.

    Returns the number of rows.

    Raises:
        GraphoptError: the file cannot be written.
    """
    priced = [
        {
            **{name: value for name, value in row.items() if name is not None and name not in _MEASURED},
            **dict(zip(_PRICED, (*(f"{us:.6g}" for us in operator_price(operator, target)), "estimated"), strict=True)),
        }
        for row, operator in rows
    ]
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(priced[0]) if priced else [*COLUMNS, *_PRICED])
            writer.writeheader()
            writer.writerows(priced)
    except OSError as error:
        raise GraphoptError(f"{path} cannot be written: {error.strerror}") from error
    return len(priced)


def _operator(row: Row, where: str) -> Operator:
    task, dtype = (row["task"] or "").strip(), _dtype((row["dtype"] or "").strip(), where)
    if not any(task.startswith(known) for known in TASKS):
        raise GraphoptError(f"{where}, column 'task': '{task}'; expected a name that starts with {', '.join(TASKS)}")
    n, c, h, w, k, r, s, stride, stride_w, groups = (_count(row[name], name, where) for name in _SIZES)
    if task.startswith("depthwise") and groups == 1:
        groups = c
    if c % groups or k % groups:
        raise GraphoptError(f"{where}, column 'groups': {groups}; expected a divisor of C ({c}) and of K ({k})")
    rows, columns = _output_size(row.get("macs"), task, (n, c, h, w, k, r, s, stride, stride_w, groups), where)
    return Operator(task, dtype, n, c, h, w, k, (r, s), stride, groups, rows, columns)


def _dtype(name: str, where: str) -> Literal["float16", "float32"]:
    if name == "float16":
        return "float16"
    if name == "float32":
        return "float32"
    raise GraphoptError(f"{where}, column 'dtype': '{name}'; expected float16 or float32")


def _count(cell: str | None, name: str, where: str) -> int:
    """A positive whole number, also if it is written as 3.0."""
    try:
        value = float(cell or "")
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value >= 1 and value == int(value)):
        raise GraphoptError(f"{where}, column '{name}': '{cell or ''}'; expected a positive whole number")
    return int(value)


def _output_size(macs: str | None, task: str, sizes: tuple[int, ...], where: str) -> tuple[int, int]:
    """Rows and columns of the output. The file does not give the padding: MACs, where they are given, tell whether
    the output is ceil(size / stride) ("same"), or what fits without padding; without them it is the former.
    """
    n, c, h, w, k, r, s, stride, stride_w, groups = sizes
    if task.startswith("dense"):
        return 1, 1
    if task.startswith("conv2d_transpose"):
        return h * stride, w * stride_w
    same = -(-h // stride), -(-w // stride_w)
    if not (macs or "").strip():
        return same
    pixels = _count(macs, "macs", where) / (n * k * (c // groups) * r * s)
    unpadded = max(1, (h - r) // stride + 1), max(1, (w - s) // stride_w + 1)
    for rows, columns in (same, unpadded):
        if rows * columns == pixels:
            return rows, columns
    scale = math.sqrt(pixels / (same[0] * same[1]))  # another padding: the nearest size of that shape
    return max(1, round(same[0] * scale)), max(1, round(same[1] * scale))
