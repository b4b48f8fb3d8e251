"""What devices have measured of a network, as `graphopt cost` shows it beside the price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import onnx

    from graphopt.cost.measured import Measured
    from graphopt.cost.target import Target

Known = dict[str, "list[Measured]"]  # by target, the newest last


def known_of(model: onnx.ModelProto, targets: Sequence[Target]) -> Known:
    """What is kept of the model's graph."""
    from graphopt.cost.cache import cache_folder
    from graphopt.cost.keys import graph_key
    from graphopt.cost.measured import measured_rows

    key = graph_key(model)
    return {target.name: measured_rows(cache_folder(), target.name, key) for target in targets}


def known_as_json(known: Sequence[Measured]) -> dict[str, Any]:
    """A key for the object of a target, where there is something to say."""
    return {"measured": [row.to_dict() for row in known]} if known else {}


def print_known(known: Known) -> None:
    """A line each, the newest of a target first."""
    for target, rows in known.items():
        for row in reversed(rows):
            typer.echo(f"{target}: {row}")
