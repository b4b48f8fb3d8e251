"""Checks a pass as the engine will: its sites, what it builds at each, its contract, and the network it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.rewriting import Splicer, build_fragment, proposed_sites, rewrite_everywhere, rewrite_once
from graphopt.ir.sites import Site
from graphopt.ir.statistics import Statistics, collect
from graphopt.ir.training_forms import form_of
from graphopt.ir.verification import check_approximation, check_cleanups, check_contract
from graphopt.ir.view import GraphView

Array = NDArray[np.float32]
NETWORK = "whole network"


@dataclass(frozen=True)
class Check:
    """One site, or the whole network: the relative difference that the rewrite makes, and what is wrong, if anything.

    At a site it is the largest on random inputs; NaN where the site is left out, and where the contract `approximate`
    speaks of the network only. For the network it is the root mean square over the images, the largest for clean-ups.
    """

    site: str
    difference: float = float("nan")
    problem: str = ""


@dataclass(frozen=True)
class PassCheck:
    """A row for each site, then one for the whole network, and the rewritten network itself."""

    rows: list[Check]
    rewritten: gs.Graph | None

    @property
    def problems(self) -> list[str]:
        return [row.problem for row in self.rows if row.problem]


def check_pass(rule: Pass, graph: gs.Graph, images: Sequence[Array]) -> PassCheck:
    """Everything that a pipeline would ask of `rule` in a canonical graph; `images` are (1, C, H, W).

    Broken rules are rows with a problem. GraphoptError where there is no site: nothing could be checked.
    """
    view = GraphView(graph)
    sites = proposed_sites(rule, view)
    if not sites:
        raise GraphoptError(
            f"pass {rule.name}: it has no site in this network; `graphopt explain` shows what nearly fits"
        )
    problems = {site.name: _place(rule, site, sites, view) for site in sites}
    sound = [site for site in sites if not problems[site.name]]
    blind = rule.stage in (Stage.TRAIN, Stage.CLEANUP)  # these run without calibration images
    statistics = None if blind else collect(graph, sound, images)
    rows = [
        Check(site.name, problem=problems[site.name])
        if problems[site.name]
        else _check_site(rule, site, view, statistics, images)
        for site in sites
    ]
    if any(row.problem for row in rows):  # the network would stop at the first of them
        return PassCheck(rows, None)
    rewritten = graph.copy()
    return PassCheck([*rows, _check_whole(rule, graph, rewritten, statistics, images)], rewritten)


def random_images(shape: Sequence[int], count: int = 4, seed: int = 0) -> list[Array]:
    """Images (1, C, H, W) around [0, 1]: random patches of 8x8 pixels of one colour, and noise of sigma 25/255."""
    if len(shape) != 4:
        raise GraphoptError(f"a pass is checked on images: expected an input (1, C, H, W), found {tuple(shape)}")
    _, channels, height, width = shape
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        patches = random.random((1, channels, -(-height // 8), -(-width // 8)))
        clean = patches.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
        made.append((clean + random.normal(0, 25 / 255, clean.shape)).astype(np.float32))
    return made


def _place(rule: Pass, site: Site, sites: list[Site], view: GraphView) -> str:
    """Why a site is no region that a fragment could replace, or an empty text."""
    label = f"pass {rule.name} at site {site.name}"
    unknown = [name for name in site.nodes if name not in view.nodes]
    if unknown or not site.nodes:
        return f"{label}: the network has no node '{unknown[0]}'" if unknown else f"{label}: it has no nodes"
    named = [*site.inputs.values(), *site.constants.values(), *site.captures.values(), *site.outputs.values()]
    missing = [name for name in named if name not in view.tensors]
    if missing:
        return f"{label}: the network has no tensor '{missing[0]}'"
    hole = view.regions.why_not_convex(site.nodes)
    if hole:
        return f"{label}: {hole}; a site must be without holes"
    used = {tensor.name for tensor in view.regions.boundary(site.nodes)[1]}
    if used != set(site.outputs.values()):
        named_outputs = ", ".join(site.outputs.values())
        return f"{label}: {', '.join(sorted(used))} are used outside, but its outputs are {named_outputs}"
    twin = next((other for other in sites if other is not site and set(other.nodes) == set(site.nodes)), None)
    if twin is not None:
        return f"{label}: it has the same nodes as the site {twin.name}; leave one of them out in sites()"
    crossing = next((other for other in sites if site.crosses(other)), None)
    if crossing is not None:
        return f"{label}: it crosses the site {crossing.name}; leave one of them out in sites()"
    return ""


def _check_site(
    rule: Pass, site: Site, view: GraphView, statistics: Statistics | None, images: Sequence[Array]
) -> Check:
    try:
        fragment = build_fragment(rule, site, view, statistics)
        difference = check_contract(rule, site, fragment, view.regions, set())
        form_of(rule, site, view, fragment)
        if rule.contract is Contract.APPROXIMATE:  # a promise about the network's output, on images
            difference = float("nan")
            if rule.stage is Stage.SEARCH:
                splicer = Splicer(view.graph.copy())
                splicer.splice(site, fragment.copy())
                after, where = splicer.finish(), f" at site {site.name}"
                difference = check_approximation(rule, view.graph, after, list(images), where)
    except GraphoptError as error:
        return Check(site.name, problem=str(error))
    return Check(site.name, difference)


def _check_whole(
    rule: Pass, graph: gs.Graph, rewritten: gs.Graph, statistics: Statistics | None, images: Sequence[Array]
) -> Check:
    """Rewrites everywhere, in place; the result must run, keep its contract and, unless that is exact, be trainable."""
    try:
        if rule.stage is Stage.CLEANUP:
            rewrite_everywhere(rewritten, [rule])
            difference = check_cleanups(to_model(graph), to_model(rewritten), list(images), [rule.name])
        else:
            rewrite_once(rewritten, rule, statistics)
            difference = check_approximation(rule, graph, rewritten, list(images))
        if rule.contract is not Contract.EXACT:  # what computes the same is not trained for it, and needs no torch
            from graphopt.nn.module import GraphModule

            GraphModule(to_graph(to_model(rewritten)))
    except GraphoptError as error:
        return Check(NETWORK, problem=str(error))
    return Check(NETWORK, difference)
