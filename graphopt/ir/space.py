"""The space: a graph and its choices. A choice is a site with all its candidates; `keep` is always among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from graphopt.ir.contract import Contract
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Refusal, Site

KEEP = "keep"


@dataclass
class Candidate:
    """What a pass offers at a site."""

    name: str
    fragment: Fragment
    contract: Contract


@dataclass
class Choice:
    """A site and what may stand there instead. `parent` is the choice whose site holds this one."""

    site: Site
    candidates: dict[str, Candidate] = field(default_factory=dict)
    parent: str | None = None

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def options(self) -> tuple[str, ...]:
        """`keep` first, then the candidates."""
        return (KEEP, *self.candidates)


@dataclass
class Space:
    """`choices` come outer before inner. An inner choice has a meaning only where its parents are kept."""

    graph: gs.Graph
    choices: dict[str, Choice]
    refusals: list[Refusal] = field(default_factory=list)

    def ancestors(self, name: str) -> Iterator[str]:
        """The choices that hold `name`, from the nearest outwards."""
        parent = self.choices[name].parent
        while parent is not None:
            yield parent
            parent = self.choices[parent].parent

    def inside(self, name: str) -> list[str]:
        """The choices that `name` holds, at any depth."""
        return [inner for inner in self.choices if name in self.ancestors(inner)]

    def in_effect(self, selection: Selection) -> dict[str, str]:
        """The selected option of every choice that lies in no replaced site; what is not named is kept."""
        return {
            name: selection.get(name, KEEP)
            for name in self.choices
            if all(selection.get(outer, KEEP) == KEEP for outer in self.ancestors(name))
        }

    def children(self, name: str | None) -> list[str]:
        return [choice.name for choice in self.choices.values() if choice.parent == name]


Selection = Mapping[str, str]  # choice -> `keep` or the name of a candidate
