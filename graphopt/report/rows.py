"""Rows of the report, made from what the stages of a run have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphopt.cost.table import CostTable
from graphopt.ir.space import KEEP, Space
from graphopt.report.data import CandidateRow, ChoiceRow, FrontPoint
from graphopt.report.published import Option, Place


def choice_rows(space: Space, found: Mapping[str, Any], table: CostTable) -> list[ChoiceRow]:
    """In the network's order; an outer site follows the sites inside it. `found` is the selection's file."""
    order = {node.name: position for position, node in enumerate(space.graph.nodes)}
    rows = []
    for choice in sorted(space.choices.values(), key=lambda c: max(order[n] for n in c.site.nodes)):
        candidates = []
        shares = found["probabilities"][choice.name]
        for option, share in zip(choice.options, shares, strict=True):
            deltas = {target: delta.latency_ms for target, delta in table.deltas[choice.name][option].items()}
            fragment = None if option == KEEP else choice.candidates[option].fragment
            own = sum(int(np.prod(c.shape)) for c in fragment.constants if c.dtype == np.float32) if fragment else 0
            contract = "exact" if option == KEEP else str(choice.candidates[option].contract)
            chosen = found["selection"][choice.name] == option
            candidates.append(
                CandidateRow(option, contract, chosen, shares[0] if contract == "exact" else share, deltas, own)
            )
        rows.append(ChoiceRow(choice.name, block_of(choice.name), choice.parent, candidates))
    return rows


def block_of(site: str) -> str:
    """`encoders.0.1/norm1` -> `encoders.0.1`; a site that is a whole block stands for itself."""
    return site.rsplit("/", 1)[0]


def places(space: Space, selection: Mapping[str, str], table: CostTable, target: str) -> list[Place]:
    """Every site with what its candidates change on a target, for the comparison with a paper."""
    made = []
    for choice in space.choices.values():
        deltas = {option: table.deltas[choice.name][option][target] for option in choice.options}
        options = {option: Option(delta.latency_ms, delta.parameters) for option, delta in deltas.items()}
        made.append(Place(choice.name, choice.parent, selection[choice.name], options))
    return made


def front_points(rows: Sequence[Mapping[str, Any]], own: str) -> list[FrontPoint]:
    """The networks of a front; `own` is the method of the run."""
    return [
        FrontPoint(
            row["method"], row["goal"], row["method"] == own, row["psnr"], row["sum_of_parts_ms"], row["entropy"],
            row["decided"],
        )
        for row in rows
    ]  # fmt: skip
