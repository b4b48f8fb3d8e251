"""Why a pass has the sites that it has: every match, every refusal, and every place where its patterns nearly fit."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import proposed_sites
from graphopt.ir.sites import Site
from graphopt.ir.view import GraphView

LEAST = 2  # nodes that fit at a near-match: the root, and one more


@dataclass(frozen=True)
class NearMatch:
    """`fitted` nodes of the `size` of a pattern fit at the node `anchor`; then came the first thing that did not.

    `node` reads it as its `part`: `operand 1`, or has it as its `attribute axes`.
    """

    anchor: str
    pattern: str
    fitted: int
    size: int
    node: str
    part: str
    expected: str
    found: str


@dataclass(frozen=True)
class Explanation:
    """Sites and refusals (where, reason) in the graph's order, near-matches with the nearest first."""

    sites: list[Site]
    refused: list[tuple[str, str]]
    near: list[NearMatch]


def explain(rule: Pass, graph: gs.Graph) -> Explanation:
    """Runs `sites` of a pass on a canonical graph. Left out are near-matches inside a site, and inside nearer ones."""
    view = GraphView(graph)
    sites = proposed_sites(rule, view)
    inside = {name for site in sites for name in site.nodes}
    near = [
        NearMatch(
            miss.anchor.name,
            pattern.name,
            miss.matched,
            pattern.size,
            miss.node,
            miss.part,
            miss.expected,
            miss.found,
        )
        for pattern, miss in view.near_misses()
        if miss.matched >= LEAST and miss.anchor.name not in inside
    ]
    nearest: dict[tuple[str, ...], NearMatch] = {}
    for match in sorted(near, key=lambda match: (match.size - match.fitted, view.regions.order[match.anchor])):
        nearest.setdefault((match.pattern, match.node, match.part, match.expected), match)
    refused = sorted(view.refused, key=lambda refusal: view.regions.order.get(refusal[0], -1))
    return Explanation(sites, refused, list(nearest.values()))
