"""A space with exact candidates in place of their sites: what computes the same is no choice any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.contract import Contract
from graphopt.ir.fragments import Fragment
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.sites import Site
from graphopt.ir.space import Choice, Selection, Space


def settled_space(space: Space, settled: Selection) -> Space:
    """The space whose graph has the `settled` exact candidates in it, and no exact candidate among its options.

    `keep` then means the site as settled, so that a search trains what will be deployed. A choice without other
    candidates is gone, and so is what lay inside a settled site. Raises GraphoptError where a settled candidate takes
    away a tensor that another one reads.
    """
    named = {name: _with_names(choice, settled.get(name)) for name, choice in space.choices.items()}
    graph = to_graph(to_model(apply_selection(replace(space, choices=named), settled)))
    placed = {
        node: named[name].candidates[option].fragment.node_names
        for name, option in settled.items()
        for node in space.choices[name].site.nodes
    }
    order = {node.name: position for position, node in enumerate(graph.nodes)}
    gone = {inner for outer in settled for inner in space.inside(outer)}
    open_choices = {}
    for name, choice in space.choices.items():
        candidates = {o: c for o, c in choice.candidates.items() if c.contract is not Contract.EXACT}
        if candidates and name not in gone:
            open_choices[name] = Choice(_moved(choice.site, placed, order, graph), candidates)
    for name, choice in open_choices.items():
        choice.parent = next((outer for outer in space.ancestors(name) if outer in open_choices), None)
    found = Space(graph, open_choices, space.refusals)
    _check(found)
    return found


def _with_names(choice: Choice, option: str | None) -> Choice:
    """What an exact candidate hands on becomes a tensor of its own, for others may read it by the site's name."""
    if option is None:
        return choice
    fragment = choice.candidates[option].fragment.copy()
    outputs = {}
    for position, (host, tensor) in enumerate(fragment.outputs.items()):
        outputs[host] = tensor
        if not tensor.inputs:
            label = f"{choice.name}@{option}/handed_on_{position}"
            outputs[host] = gs.Variable(label, tensor.dtype, tensor.shape)
            fragment.nodes.append(gs.Node("Identity", f"{label}_node", {}, [tensor], [outputs[host]]))
    settled = replace(choice.candidates[option], fragment=Fragment(fragment.nodes, outputs, fragment.constants))
    return replace(choice, candidates={**choice.candidates, option: settled})


def _moved(site: Site, placed: dict[str, tuple[str, ...]], order: dict[str, int], graph: gs.Graph) -> Site:
    """The same site where some of its nodes have others in their place."""
    nodes = {new for old in site.nodes for new in placed.get(old, (old,)) if new in order}
    tensors = graph.tensors()
    constants, captures = (
        {role: tensor for role, tensor in roles.items() if tensor in tensors}
        for roles in (site.constants, site.captures)
    )
    return replace(site, nodes=tuple(sorted(nodes, key=order.__getitem__)), constants=constants, captures=captures)


def _check(space: Space) -> None:
    tensors = space.graph.tensors()
    for choice in space.choices.values():
        for option, candidate in choice.candidates.items():
            missing = [name for name in _reads(choice, candidate.fragment) if name not in tensors]
            if missing or not choice.site.nodes:
                what = f"the tensor {missing[0]}" if missing else "the nodes of the site"
                raise GraphoptError(
                    f"cost: an exact candidate at or beside {choice.name} takes away {what}, which {option} needs; "
                    "list one of these passes alone"
                )


def _reads(choice: Choice, fragment: Fragment) -> Iterable[str]:
    """The tensors of the graph that a site and a fragment name."""
    made = {tensor.name for node in fragment.nodes for tensor in node.outputs}
    read = (tensor for node in fragment.nodes for tensor in node.inputs)
    handed_on = (tensor for tensor in fragment.outputs.values() if not tensor.inputs)
    variables = {t.name for t in (*read, *handed_on) if isinstance(t, gs.Variable) and not t.is_empty()}
    return [*choice.site.inputs.values(), *choice.site.outputs.values(), *sorted(variables - made)]
