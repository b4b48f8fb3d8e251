"""Puts fragments in place of sites: one at a time, a whole selection, and passes that run until nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError
from graphopt.ir.build import Build
from graphopt.ir.fragments import Fragment
from graphopt.ir.passes import Pass
from graphopt.ir.sites import Site
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.ir.statistics import Statistics
from graphopt.ir.view import GraphView

MOST_ROUNDS = 50  # of clean-ups; each round removes nodes, so more means that passes undo each other


def build_fragment(rule: Pass, site: Site, view: GraphView, statistics: Statistics | None) -> Fragment:
    """The fragment that a pass offers at a site. Whatever goes wrong in the pass names the pass and the site."""
    build = Build(site, rule.name, view, statistics)
    try:
        result = rule.rewrite(site, build)
    except GraphoptError as error:
        raise GraphoptError(f"pass {rule.name} at site {site.name}: {error}") from error
    except Exception as error:  # a pass is the user's code: anything may come out of it
        raise GraphoptError(
            f"pass {rule.name} raised {type(error).__name__} at site {site.name}: {error}; mend its rewrite()"
        ) from error
    outputs = result if isinstance(result, dict) else {"output": result}
    if set(outputs) != set(site.outputs) or not all(isinstance(t, gs.Tensor) for t in outputs.values()):
        expected = ", ".join(site.outputs)
        raise GraphoptError(f"pass {rule.name} at site {site.name}: rewrite() must return tensors for: {expected}")
    build.fragment.outputs = {site.outputs[role]: tensor for role, tensor in outputs.items()}
    return build.fragment


def splice(graph: gs.Graph, site: Site, fragment: Fragment) -> None:
    """Replaces the site by the fragment, in place. Tensors keep the names that the site's outputs had.

    Call `graph.cleanup().toposort()` once, after the last splice.
    """
    tensors = graph.tensors()
    inside = set(site.nodes)

    def host(tensor: gs.Tensor) -> gs.Tensor:
        if tensor.is_empty():
            return gs.Variable.empty()
        if tensor.name not in tensors:
            tensors[tensor.name] = (
                gs.Constant(tensor.name, tensor.values)
                if isinstance(tensor, gs.Constant)
                else gs.Variable(tensor.name, tensor.dtype, tensor.shape)
            )
        return tensors[tensor.name]

    position = min(i for i, node in enumerate(graph.nodes) if node.name in inside)
    made = [
        gs.Node(n.op, n.name, dict(n.attrs), [host(t) for t in n.inputs], [host(t) for t in n.outputs])
        for n in fragment.nodes
    ]
    graph.nodes[position:position] = made
    for name, tensor in fragment.outputs.items():
        _redirect(graph, tensors[name], host(tensor), inside)
    for node in [node for node in graph.nodes if node.name in inside]:
        node.outputs.clear()
        node.inputs.clear()
        graph.nodes.remove(node)


def _redirect(graph: gs.Graph, old: gs.Tensor, new: gs.Tensor, inside: set[str]) -> None:
    """Users of `old` outside the site read `new`; where `new` is computed by the fragment, it takes the old name."""
    for user in [user for user in old.outputs if user.name not in inside]:
        for position, tensor in enumerate(user.inputs):
            if tensor is old:
                user.inputs[position] = new
    if not any(tensor is old for tensor in graph.outputs):
        return
    if new.inputs and not any(tensor is new for tensor in graph.outputs):
        new.name, old.name = old.name, f"{old.name}_replaced"
        new.dtype, new.shape = old.dtype, old.shape
    else:  # a graph output must be computed by a node of its own
        output = gs.Variable(old.name, old.dtype, old.shape)
        old.name = f"{old.name}_replaced"
        graph.nodes.append(gs.Node("Identity", f"{output.name}_identity", {}, [new], [output]))
        new = output
    graph.outputs = [new if tensor is old else tensor for tensor in graph.outputs]


def apply_selection(space: Space, selection: Selection) -> gs.Graph:
    """A copy of the space's graph with the selected candidates; choices inside a replaced site have no effect."""
    graph = space.graph.copy()
    for name, option in selection.items():
        if option == KEEP or any(selection.get(outer, KEEP) != KEEP for outer in space.ancestors(name)):
            continue
        choice = space.choices[name]
        splice(graph, choice.site, choice.candidates[option].fragment)
    return graph.cleanup().toposort()


def rewrite_everywhere(graph: gs.Graph, passes: Sequence[Pass], statistics: Statistics | None = None) -> dict[str, int]:
    """Applies passes at all their sites, again and again until nothing changes, in place. Counts rewrites by pass."""
    edits = {rule.name: 0 for rule in passes}
    for round_number in count():
        before = sum(edits.values())
        for rule in passes:
            view = GraphView(graph)
            for site in rule.sites(view):
                splice(graph, site, build_fragment(rule, site, view, statistics))
                edits[rule.name] += 1
            _rename_rewritten(graph, rule.name)
            graph.cleanup().toposort()
        if sum(edits.values()) == before:
            return edits
        if round_number > MOST_ROUNDS:
            raise GraphoptError(f"passes {', '.join(edits)} go on rewriting each other's results; leave one of them out")
    raise AssertionError


def _rename_rewritten(graph: gs.Graph, pass_name: str) -> None:
    """Drops the `@pass` marks, so that a later round can make the same names again."""
    taken = {tensor for tensor in graph.tensors() if f"@{pass_name}/" not in tensor}
    taken |= {node.name for node in graph.nodes if f"@{pass_name}/" not in node.name}

    def free(name: str) -> str:
        site, _, last = name.partition(f"@{pass_name}/")
        for number in count(1):
            candidate = f"{site}/{last}" if number == 1 else f"{site}.{number}/{last}"
            if candidate not in taken:
                taken.add(candidate)
                return candidate
        raise AssertionError

    for tensor in graph.tensors().values():
        if f"@{pass_name}/" in tensor.name:
            tensor.name = free(tensor.name)
    for node in graph.nodes:
        if f"@{pass_name}/" in node.name:
            node.name = free(node.name)
