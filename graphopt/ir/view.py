"""A graph as passes see it: tensors and nodes by name, and `find`, which turns matches into sites."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from functools import cached_property

import onnx_graphsurgeon as gs

from graphopt.ir.matcher import Match, Matcher
from graphopt.ir.naming import common_prefix
from graphopt.ir.near_misses import NearMiss
from graphopt.ir.patterns import Pattern
from graphopt.ir.regions import Regions
from graphopt.ir.sites import Refusal, Site

Condition = Callable[[Match], str | None]


class GraphView:
    """What `sites` gets: `find(pattern)` turns matches into sites, `nodes` and `tensors` hold the graph by name.

    Read-only, for one pass after the other. Remembers where patterns did not fit, for those who ask why.
    """

    def __init__(self, graph: gs.Graph):
        self.graph = graph
        self.regions = Regions(graph)
        self._refused: list[tuple[str, str]] = []
        self._failed: list[tuple[Pattern, gs.Node]] = []
        self._matcher = Matcher(graph.nodes)
        self._graph_outputs = {tensor.name for tensor in graph.outputs}
        self._sorted_names = sorted([node.name for node in graph.nodes])

    @property
    def nodes(self) -> dict[str, gs.Node]:
        return self.regions.nodes

    @cached_property
    def tensors(self) -> dict[str, gs.Tensor]:
        tensors: dict[str, gs.Tensor] = self.graph.tensors()
        return tensors

    def find(
        self, pattern: Pattern, label: str | None = None, unless: Condition | None = None, *, quiet: bool = False
    ) -> list[Site]:
        """Every site of `pattern`, in the graph's order, named after the module around it and `label`.

        `unless(match)` returns the reason why a match is no site, or None. Sites do not overlap each other. With
        `quiet`, what does not fit is not noted: for a pattern that is too common for that to be news.
        """
        noted = len(self._refused), len(self._failed)
        matches: list[Match] = []
        covered: set[str] = set()
        shorter: set[str] = set()
        taken: Counter[str] = Counter()
        # From the end: where the last ops of a pattern are optional, the largest form is found first.
        for anchor in reversed(self._matcher.anchors(pattern)):
            if anchor.name in shorter:
                continue
            found = self._matcher.match(pattern, anchor)
            if found is None:
                self._failed.append((pattern, anchor))
                continue
            names = {node.name for node in found.nodes}
            if names <= covered:
                continue
            reason = self._why_not(found, covered) or (unless(found) if unless else None)
            if reason:
                self.refuse(anchor.name, reason)
                continue
            covered |= names
            shorter |= found.shorter
            matches.append(found)
        if quiet:
            del self._refused[noted[0] :], self._failed[noted[1] :]
        return [self._site(found, label or pattern.name.replace("_", "-"), taken) for found in reversed(matches)]

    def refuse(self, where: str, reason: str) -> None:
        """Notes why there is no site at `where`."""
        self._refused.append((where, reason))

    @property
    def refused(self) -> list[tuple[str, str]]:
        """(where, reason) of the places where a pattern fits that are no sites all the same."""
        return list(dict.fromkeys(self._refused))

    def near_misses(self) -> list[tuple[Pattern, NearMiss]]:
        """What did not fit, at every anchor without a match."""
        return [(pattern, self._matcher.near_miss(pattern, anchor)) for pattern, anchor in self._failed]

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """(where, reason) of the places that are no sites although most of a pattern fits."""
        near = [  # every Mul is an anchor of something
            (miss.anchor.name, miss.reason) for pattern, miss in self.near_misses() if miss.matched * 2 > pattern.size
        ]
        return list(dict.fromkeys([*self._refused, *near]))

    def take_refusals(self, pass_name: str) -> list[Refusal]:
        """What was noted since the last call, as one pass's."""
        taken = [Refusal(pass_name, where, reason) for where, reason in self.refusals]
        self._refused.clear()
        self._failed.clear()
        return taken

    def _why_not(self, match: Match, covered: set[str]) -> str | None:
        names = {node.name for node in match.nodes}
        shared = names & covered
        if shared:
            return f"it shares {min(shared)} with a match before it"
        for role, tensor in match.inputs.items():
            if tensor.inputs and tensor.inputs[0].name in names:
                return f"its input '{role}' is {tensor.name}, which is computed inside the site"
        for node in match.nodes:
            for tensor in node.outputs:
                if tensor is match.output:
                    continue
                if tensor.name in self._graph_outputs:
                    return f"{tensor.name}, inside the site, is an output of the graph"
                outside = [user.name for user in tensor.outputs if user.name not in names]
                if outside:
                    return f"{node.name}, inside the site, is also used by {outside[0]}"
        return None  # with one output, which ends it, the site is convex

    def _site(self, match: Match, label: str, taken: Counter[str]) -> Site:
        return Site(
            name=self.site_name([node.name for node in match.nodes], label, taken),
            nodes=tuple(node.name for node in match.nodes),
            inputs={name: tensor.name for name, tensor in match.inputs.items()},
            outputs={"output": match.output.name},
            constants={name: tensor.name for name, tensor in match.constants.items()},
            captures={name: tensor.name for name, tensor in match.captures.items()},
        )

    def site_name(self, nodes: list[str], label: str, taken: Counter[str]) -> str:
        """The module, where the region is all of it; otherwise the module around it and the label."""
        prefix = common_prefix(nodes)
        # In the order of ASCII, names that begin with `prefix.` or `prefix/` stand together, before `prefix0`
        first, end = (bisect_left(self._sorted_names, prefix + after) for after in ".0")
        inside = self._sorted_names[first:end]
        name = prefix if prefix and inside and set(inside) <= set(nodes) else "/".join(filter(None, [prefix, label]))
        taken[name] += 1
        return name if taken[name] == 1 else f"{name}.{taken[name]}"
