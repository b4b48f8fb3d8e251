"""Training forms: what stands at a site while it trains, and how its weights become those of the deployed form."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError
from graphopt.ir.build import TrainingBuild
from graphopt.ir.canonical import copy_graph, to_graph, to_model
from graphopt.ir.fragments import Fragment
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.rewriting import Splicer, apply_selection, build_fragment, proposed_sites
from graphopt.ir.sites import Site
from graphopt.ir.space import Selection, Space
from graphopt.ir.verification import check_contract
from graphopt.ir.view import GraphView


@dataclass(frozen=True)
class Form:
    """A training form at one site.

    `weights` maps each constant of the deployed form that is computed while it trains to the tensor that computes it,
    `fades` each constant that falls from 1 to 0 to the share of the fine-tuning over which it does.
    """

    fragment: Fragment
    weights: dict[str, str]
    fades: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingGraph:
    """The chosen network as it trains. `sites` counts the training forms in it by pass; the rest is as in `Form`."""

    graph: gs.Graph
    weights: dict[str, str]
    fades: dict[str, float]
    sites: dict[str, int]


def has_form(rule: Pass) -> bool:
    """Whether something else than what is deployed may train at the sites of a pass."""
    return rule.stage is Stage.TRAIN or type(rule).training is not Pass.training


def form_of(rule: Pass, site: Site, view: GraphView, fragment: Fragment) -> Form | None:
    """The training form of what a pass built at a site, checked to collapse; None where it trains as it is.

    A pass of the stage `train` has built the training form itself, and the site is its deployed form.
    """
    label = f"pass {rule.name} at site {site.name}"
    if rule.stage is Stage.TRAIN:
        nodes = [view.nodes[name] for name in site.nodes]
        outputs = {host: view.tensors[host] for host in fragment.outputs}
        weights = _collapse(nodes, outputs, fragment, {}, label)
        for name in weights:
            outside = [user.name for user in view.tensors[name].outputs if user.name not in site.nodes]
            if outside:
                raise GraphoptError(f"{label}: {outside[0]}, outside, reads {name} too; leave the site out in sites()")
        return Form(fragment, weights)
    build = TrainingBuild(site, rule.name, view, fragment)
    try:
        result = rule.training(site, build)
    except GraphoptError as error:
        raise GraphoptError(f"{label}: {error}") from error
    except Exception as error:  # a pass is the user's code: anything may come out of it
        raise GraphoptError(f"{label} raised {type(error).__name__}: {error}; mend its training()") from error
    if result is None:
        return None
    found = result if isinstance(result, dict) else {"output": result}
    if set(found) != set(site.outputs) or not all(isinstance(tensor, gs.Variable) for tensor in found.values()):
        raise GraphoptError(f"{label}: training() must return tensors for: {', '.join(site.outputs)}")
    build.fragment.outputs = {site.outputs[role]: tensor for role, tensor in found.items()}
    weights = _collapse(fragment.nodes, fragment.outputs, build.fragment, build.ends, label)
    return Form(build.fragment, weights, build.fades)


def _collapse(
    nodes: Iterable[gs.Node],
    outputs: Mapping[str, gs.Tensor],
    fragment: Fragment,
    ends: Mapping[str, gs.Tensor],
    label: str,
) -> dict[str, str]:
    """Walks the deployed `nodes` and the training form side by side, from the outputs up; both must be of one shape.

    Returns which tensor of the training form each constant of the deployed form becomes, where that is another one.
    """
    makers, trained = _makers(nodes), _makers(fragment.nodes)
    computed = _from_weights(fragment.nodes)
    weights: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    pending = [(tensor, fragment.outputs[host]) for host, tensor in outputs.items()]

    def differs(expected: str, found: str) -> GraphoptError:
        return GraphoptError(
            f"{label}: what stands there while it trains does not end as the deployed form: expected {expected}, found "
            f"{found}; let the same ops stand there when the fades have ended, and compute their weights from weights "
            "(add kernels, not images)"
        )

    while pending:
        deployed, form = pending.pop()
        while form.name in ends:
            form = ends[form.name]
        if (deployed.name, form.name) in seen or (deployed.is_empty() and form.is_empty()):
            continue
        seen.add((deployed.name, form.name))
        if isinstance(deployed, gs.Constant):
            if not (isinstance(form, gs.Constant) or form.name in computed):
                raise differs(f"weights in place of {deployed.name}", form.name)
            same = isinstance(form, gs.Constant) and np.array_equal(form.values, deployed.values)
            if form.name == deployed.name or (
                same and (deployed.values.size == 1 or deployed.values.dtype.kind != "f")
            ):
                continue  # a number or a setting, such as an epsilon or an axis
            if deployed.values.dtype.kind != "f" or weights.setdefault(deployed.name, form.name) != form.name:
                raise differs(f"the same {deployed.name}", form.name)
            continue
        if deployed.name not in makers:  # a tensor of the host
            if form.name != deployed.name:
                raise differs(deployed.name, form.name)
            continue
        ours, position = makers[deployed.name]
        theirs, other = trained.get(form.name, (None, position))
        if theirs is None or (theirs.op, len(theirs.inputs), other) != (ours.op, len(ours.inputs), position):
            raise differs(
                f"{ours.op} of {len(ours.inputs)} operands", f"{theirs.op} ({theirs.name})" if theirs else form.name
            )
        pending += zip(ours.inputs, theirs.inputs, strict=True)
    return weights


def _makers(nodes: Iterable[gs.Node]) -> dict[str, tuple[gs.Node, int]]:
    """Tensor -> the node that makes it, as which output."""
    return {tensor.name: (node, i) for node in nodes for i, tensor in enumerate(node.outputs)}


def _from_weights(nodes: Sequence[gs.Node]) -> set[str]:
    """The names of the tensors that are computed from constants alone."""
    found: set[str] = set()
    for node in nodes:
        if all(isinstance(t, gs.Constant) or t.is_empty() or t.name in found for t in node.inputs):
            found |= {tensor.name for tensor in node.outputs}
    return found


def training_graph(
    deployed: gs.Graph, space: Space, selection: Selection, passes: Sequence[Pass], exclude: Sequence[str] = ()
) -> TrainingGraph:
    """The chosen network with the training forms of the selected candidates, and of the passes of the stage `train`.

    `deployed` is the space's graph with the selection applied. Of the passes of the stage `train`, sites whose names
    match a glob of `exclude`, and sites that overlap those of a pass before, are left out.
    """
    weights: dict[str, str] = {}
    fades: dict[str, float] = {}
    sites = {rule.name: 0 for rule in passes if rule.stage is Stage.TRAIN}

    def note(rule: Pass, form: Form) -> None:
        weights.update(form.weights)
        fades.update(form.fades)
        sites[rule.name] = sites.get(rule.name, 0) + 1

    graph = deployed
    rules = {rule.name: rule for rule in passes if has_form(rule)}
    forms: dict[str, Fragment] = {}
    view = GraphView(space.graph)
    for name, option in space.in_effect(selection).items():
        if option not in rules:
            continue
        choice = space.choices[name]
        form = form_of(rules[option], choice.site, view, choice.candidates[option].fragment)
        if form is not None:
            forms[name] = form.fragment
            note(rules[option], form)
    if forms:
        choices = dict(space.choices)
        for name, fragment in forms.items():
            option = selection[name]
            candidates = choices[name].candidates
            trained = {**candidates, option: replace(candidates[option], fragment=fragment)}
            choices[name] = replace(choices[name], candidates=trained)
        graph = to_graph(to_model(apply_selection(replace(space, choices=choices), selection)))
    chosen = {node.name for node in deployed.nodes}
    for rule in (rule for rule in passes if rule.stage is Stage.TRAIN):
        graph, made = _with_forms(graph, rule, chosen, exclude)
        for form in made:
            note(rule, form)
    return TrainingGraph(graph, weights, fades, sites)


def _with_forms(
    graph: gs.Graph, rule: Pass, chosen: Collection[str], exclude: Sequence[str]
) -> tuple[gs.Graph, list[Form]]:
    """A copy of the graph with the training forms of one pass at all its sites among the `chosen` nodes."""
    graph = copy_graph(graph)
    view = GraphView(graph)
    free, checked, made = set(chosen), set[str](), list[tuple[Site, Form]]()
    for site in proposed_sites(rule, view):
        if not free.issuperset(site.nodes) or any(fnmatch.fnmatch(site.name, glob) for glob in exclude):
            continue
        free.difference_update(site.nodes)
        fragment = build_fragment(rule, site, view, None)
        check_contract(rule, site, fragment, view.regions, checked)
        form = form_of(rule, site, view, fragment)
        if form is not None:
            made.append((site, form))
    splicer = Splicer(graph, view.tensors)
    for site, form in made:
        splicer.splice(site, form.fragment)
    return to_graph(to_model(splicer.finish())), [form for _, form in made]
