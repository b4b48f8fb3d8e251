"""Builds the space: every pass proposes, contracts are checked, overlapping sites are ordered or refused."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import copy_graph, to_graph, to_model
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.rewriting import apply_selection, build_fragment, proposed_sites, rewrite_once
from graphopt.ir.sites import Refusal, Site, parent_of
from graphopt.ir.space import Candidate, Choice, Space
from graphopt.ir.statistics import Statistics, collect
from graphopt.ir.verification import check_activations, check_approximation, check_contract
from graphopt.ir.view import GraphView
from graphopt.progress import Progress


@dataclass(frozen=True)
class Prepared:
    """A graph after the `prepare` passes, and how many rewrites each of them made."""

    graph: gs.Graph
    edits: dict[str, int]


def prepare(graph: gs.Graph, passes: Sequence[Pass], images: list[NDArray[np.float32]]) -> Prepared:
    """Applies the passes of stage `prepare` at all their sites, once, and checks their contracts."""
    edits: dict[str, int] = {}
    for rule in (rule for rule in passes if rule.stage is Stage.PREPARE):
        after = copy_graph(graph)
        sites = proposed_sites(rule, GraphView(after))
        edits[rule.name] = rewrite_once(after, rule, collect(after, sites, images))
        check_approximation(rule, graph, after, images)
        graph = to_graph(to_model(after))  # with the shapes of the new tensors
    return Prepared(graph, edits)


def build_space(
    graph: gs.Graph,
    passes: Sequence[Pass],
    images: list[NDArray[np.float32]],
    exclude: Sequence[str],
    report: Progress,
) -> Space:
    """The choices that the passes of stage `search` offer in `graph`, calibrated on `images`.

    Sites whose names match a glob of `exclude` are left alone. A pass whose sites cross those of another is refused
    there; a broken contract is an error.
    """
    view = GraphView(graph)
    proposals: list[tuple[Pass, Site]] = []
    refusals: list[Refusal] = []
    for rule in (rule for rule in passes if rule.stage is Stage.SEARCH):
        for site in proposed_sites(rule, view):
            if any(fnmatch.fnmatch(site.name, glob) for glob in exclude):
                refusals.append(Refusal(rule.name, site.name, "excluded by the configuration"))
                continue
            crossing = next((other for _, other in proposals if site.crosses(other)), None)
            if crossing is not None:
                refusals.append(Refusal(rule.name, site.name, f"it crosses the site {crossing.name}"))
                continue
            proposals.append((rule, site))
        refusals += view.take_refusals(rule.name)
    statistics = collect(graph, [site for _, site in proposals], images)
    space = Space(graph, _choices(proposals, view, statistics, report), refusals)
    _check_approximate(space, passes, images)
    _check_exact(space, passes, view, images)
    return space


def _choices(
    proposals: list[tuple[Pass, Site]], view: GraphView, statistics: Statistics, report: Progress
) -> dict[str, Choice]:
    choices: dict[str, Choice] = {}
    checked: set[str] = set()
    largest_first = sorted(proposals, key=lambda p: (-len(p[1].nodes), view.regions.order[p[1].nodes[0]]))
    for done, (rule, site) in enumerate(largest_first):
        report(done / len(largest_first), f"{rule.name} at {site.name}")
        fragment = build_fragment(rule, site, view, statistics)
        check_contract(rule, site, fragment, view.regions, checked, statistics)
        same = next((c for c in choices.values() if set(c.site.nodes) == set(site.nodes)), None)
        if same is None:
            name = site.name if site.name not in choices else f"{site.name}@{rule.name}"
            named = Site(name, site.nodes, site.inputs, site.outputs, site.constants, site.captures)
            same = choices[name] = Choice(named)
        if rule.name in same.candidates:
            raise GraphoptError(f"pass {rule.name} is listed twice and offers two candidates at {same.name}")
        same.candidates[rule.name] = Candidate(rule.name, fragment, rule.contract)
    sites = {choice.name: choice.site for choice in choices.values()}
    for choice in choices.values():
        parent = parent_of(choice.site, sites.values())
        choice.parent = parent.name if parent else None
    return choices


def _check_approximate(space: Space, passes: Sequence[Pass], images: list[NDArray[np.float32]]) -> None:
    """Candidates of the contract `approximate`, one at a time in the whole network."""
    for rule in (rule for rule in passes if rule.contract is Contract.APPROXIMATE):
        for choice in space.choices.values():
            if rule.name in choice.candidates:
                after = apply_selection(space, {choice.name: rule.name})
                check_approximation(rule, space.graph, after, images, f" at site {choice.name}")


def _check_exact(space: Space, passes: Sequence[Pass], view: GraphView, images: list[NDArray[np.float32]]) -> None:
    """Candidates of the contract `exact` on real activations: each at its site, and all of a pass end to end."""
    for rule in (rule for rule in passes if rule.contract is Contract.EXACT):
        chosen = [choice for choice in space.choices.values() if rule.name in choice.candidates]
        if chosen:
            fragments = [(choice.site, choice.candidates[rule.name].fragment) for choice in chosen]
            check_activations(rule, fragments, view.regions, images[:1])
            after = apply_selection(space, {choice.name: rule.name for choice in chosen})
            check_approximation(rule, space.graph, after, images[:1])
