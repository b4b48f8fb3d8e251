"""Sites: regions of a graph where a rewrite may happen. They are disjoint or nested, never crossing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Site:
    """A convex region with named inputs and one or more outputs, e.g. `encoders.0.1/norm1`.

    `inputs`, `outputs`, `constants` and `captures` (tensors inside) map the pattern's names to the graph's tensors.
    """

    name: str
    nodes: tuple[str, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    captures: Mapping[str, str] = field(default_factory=dict)

    def tensor(self, role: str) -> str:
        """The name of the graph's tensor that the pattern calls `role`. KeyError where there is none."""
        return {**self.constants, **self.captures, **self.outputs, **self.inputs}[role]

    def contains(self, other: Site) -> bool:
        return set(other.nodes) < set(self.nodes)

    def crosses(self, other: Site) -> bool:
        """True where they share nodes and neither holds the other."""
        mine, theirs = set(self.nodes), set(other.nodes)
        return bool(mine & theirs) and not (mine <= theirs or theirs <= mine)


@dataclass(frozen=True)
class Refusal:
    """Why a pass offers nothing at a place that nearly matched, or was not let in."""

    pass_name: str
    where: str
    reason: str


def parent_of(site: Site, sites: Iterable[Site]) -> Site | None:
    """The smallest of `sites` that strictly holds `site`."""
    holding = [other for other in sites if other.contains(site)]
    return min(holding, key=lambda other: len(other.nodes), default=None)
