"""Puts fragments in place of sites: one at a time, a whole selection, and passes that run until nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError, did_you_mean
from graphopt.ir.build import Build
from graphopt.ir.canonical import copy_graph, has_subgraphs
from graphopt.ir.fragments import Fragment
from graphopt.ir.passes import Pass
from graphopt.ir.sites import Site
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.ir.statistics import Statistics
from graphopt.ir.view import GraphView

MOST_ROUNDS = 50  # of clean-ups; each round removes nodes, so more means that passes undo each other


def proposed_sites(rule: Pass, view: GraphView) -> list[Site]:
    """The sites of a pass, each under a name of its own. Whatever goes wrong in the pass names the pass."""
    try:
        found = list(rule.sites(view))
    except GraphoptError:
        raise
    except Exception as error:  # a pass is the user's code: anything may come out of it
        raise GraphoptError(f"pass {rule.name} raised {type(error).__name__} in sites(): {error}; mend it") from error
    taken: Counter[str] = Counter()
    sites = []
    for site in found:
        taken[site.name] += 1
        sites.append(site if taken[site.name] == 1 else replace(site, name=f"{site.name}.{taken[site.name]}"))
    return sites


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
    build.fragment.outputs = {
        site.outputs[role]: build.op("Identity", [tensor]) if isinstance(tensor, gs.Constant) else tensor
        for role, tensor in outputs.items()
    }
    return build.fragment


class Splicer:
    """Puts fragments in place of sites of one graph, in place. The sites may come from before the first splice.

    The fragments' results take over the names of the tensors that they replace; where a fragment hands a tensor of
    the host straight on, the replaced name becomes an alias of it. Call `finish` after the last splice.
    """

    def __init__(self, graph: gs.Graph, tensors: Mapping[str, gs.Tensor] | None = None):
        """`tensors` are those of the graph by name, where the caller has them already."""
        self._graph = graph
        self._tensors = dict(graph.tensors() if tensors is None else tensors)
        self._nodes = {node.name: node for node in graph.nodes}
        self._aliases: dict[str, str] = {}
        self._made: dict[str, list[gs.Node]] = {}
        self._removed: set[str] = set()

    def splice(self, site: Site, fragment: Fragment) -> None:
        """The nodes of `fragment` become nodes of the graph: hand in a copy of one that is needed again."""
        for node in fragment.nodes:
            for position, tensor in enumerate(node.inputs):
                if not tensor.inputs and isinstance(tensor, gs.Variable) and not tensor.is_empty():
                    node.inputs[position] = self._host(tensor)
        made = list(fragment.nodes)
        for name, tensor in fragment.outputs.items():
            constant = self._constant(name, tensor)
            if constant is not None:  # its users read it without the Identity that made it a result
                made.remove(tensor.inputs[0])
                tensor.inputs[0].inputs.clear()
            new = constant or (tensor if tensor.inputs else self._host(tensor))
            self._redirect(name, new, set(site.nodes), made)
        for name in site.nodes:
            self._nodes[name].outputs.clear()
            self._nodes[name].inputs.clear()
        self._removed.update(site.nodes)
        self._made[site.nodes[-1]] = made  # where all that the site reads is computed

    def finish(self) -> gs.Graph:
        """The graph without the replaced nodes, sorted."""
        nodes: list[gs.Node] = []
        for node in self._graph.nodes:
            nodes += self._made.get(node.name, [])
            if node.name not in self._removed:
                nodes.append(node)
        self._graph.nodes = nodes
        if has_subgraphs(self._graph):  # what these read is not among their node's inputs
            return self._graph.cleanup().toposort()
        _drop_unused(self._graph)
        return self._graph if _is_sorted(self._graph) else self._graph.toposort()

    def _constant(self, name: str, tensor: gs.Tensor) -> gs.Constant | None:
        """The constant that a fragment gives for tensor `name`, unless that is an output of the graph."""
        if not tensor.inputs or any(tensor.name == name for tensor in self._graph.outputs):
            return None
        node = tensor.inputs[0]
        return node.inputs[0] if node.op == "Identity" and isinstance(node.inputs[0], gs.Constant) else None

    def _host(self, stand_in: gs.Variable) -> gs.Tensor:
        """The graph's tensor that a fragment's `stand_in` means."""
        name = stand_in.name
        while name in self._aliases:
            name = self._aliases[name]
        return self._tensors[name]

    def _redirect(self, name: str, new: gs.Tensor, inside: set[str], made: list[gs.Node]) -> None:
        """The users of tensor `name` outside the site read `new`."""
        old = self._tensors[name]
        for user in [user for user in old.outputs if user.name not in inside]:
            for position, tensor in enumerate(user.inputs):
                if tensor is old:
                    user.inputs[position] = new
        if isinstance(new, gs.Constant):
            self._tensors[name] = new
            return
        is_output = any(tensor is old for tensor in self._graph.outputs)
        if new.name in self._tensors and is_output:  # an output of the graph needs a node of its own
            copied = gs.Variable(old.name, old.dtype, old.shape)
            made.append(gs.Node("Identity", f"{old.name}_identity", {}, [new], [copied]))
            new = copied
        elif new.name in self._tensors:
            self._aliases[name] = new.name
            return
        new.name, new.dtype, new.shape = old.name, old.dtype, old.shape
        old.name = f"{old.name}_replaced"
        self._tensors[name] = new
        if is_output:
            self._graph.outputs = [new if tensor is old else tensor for tensor in self._graph.outputs]


def _drop_unused(graph: gs.Graph) -> None:
    """Removes the nodes that no output of the graph needs. graphsurgeon's `cleanup` takes ten times as long."""
    used: set[int] = set()
    pending = list(graph.outputs)
    while pending:
        for node in pending.pop().inputs:
            if id(node) not in used:
                used.add(id(node))
                pending += node.inputs
    for node in graph.nodes:
        if id(node) not in used:
            node.inputs.clear()
            node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if id(node) in used]


def _is_sorted(graph: gs.Graph) -> bool:
    """Whether every node stands after those whose results it reads. Sorting takes many times as long as looking."""
    position = {id(node): index for index, node in enumerate(graph.nodes)}
    return not any(
        position.get(id(user), len(position)) <= index
        for index, node in enumerate(graph.nodes)
        for tensor in node.outputs
        for user in tensor.outputs
    )


def apply_selection(space: Space, selection: Selection) -> gs.Graph:
    """A copy of the space's graph with the selected candidates; choices inside a replaced site have no effect.

    A choice that the selection does not name is kept. Raises GraphoptError for what the space does not hold.
    """
    for name, option in selection.items():
        if name not in space.choices:
            raise GraphoptError(f"selection: unknown choice '{name}'; {did_you_mean(name, space.choices)}")
        options = space.choices[name].options
        if option not in options:
            raise GraphoptError(f"selection: '{name}' has no candidate '{option}'; {did_you_mean(option, options)}")
    splicer = Splicer(copy_graph(space.graph))
    for name, option in space.in_effect(selection).items():
        if option != KEEP:
            choice = space.choices[name]
            splicer.splice(choice.site, choice.candidates[option].fragment.copy())
    return splicer.finish()


def rewrite_once(graph: gs.Graph, rule: Pass, statistics: Statistics | None = None) -> int:
    """Applies a pass at all its sites, in place, and counts them. Of sites that overlap, the first one counts."""
    view = GraphView(graph)
    covered: set[str] = set()
    fragments = []
    for site in proposed_sites(rule, view):
        if not covered & set(site.nodes):
            covered |= set(site.nodes)
            fragments.append((site, build_fragment(rule, site, view, statistics)))
    if not fragments:
        return 0
    splicer = Splicer(graph, view.tensors)
    for site, fragment in fragments:
        splicer.splice(site, fragment)
    splicer.finish()
    drop_marks(graph, rule.name)
    return len(fragments)


def rewrite_everywhere(graph: gs.Graph, passes: Sequence[Pass], statistics: Statistics | None = None) -> dict[str, int]:
    """Applies passes at all their sites, again and again until nothing changes, in place. Counts rewrites by pass."""
    edits = {rule.name: 0 for rule in passes}
    for round_number in count():
        before = sum(edits.values())
        for rule in passes:
            edits[rule.name] += rewrite_once(graph, rule, statistics)
        if sum(edits.values()) == before:
            return edits
        if round_number > MOST_ROUNDS:
            raise GraphoptError(
                f"passes {', '.join(edits)} go on rewriting each other's results; leave one of them out"
            )
    raise AssertionError


def drop_marks(graph: gs.Graph, pass_name: str) -> None:
    """Drops the `@pass` marks, so that a later round can make the same names again."""
    mark = f"@{pass_name}/"
    tensors = {id(tensor): tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs)}
    taken = {one.name for one in (*tensors.values(), *graph.inputs, *graph.nodes)}

    def free(name: str) -> str:
        site, _, last = name.partition(mark)
        for number in count(1):
            candidate = f"{site}/{last}" if number == 1 else f"{site}.{number}/{last}"
            if candidate not in taken:
                taken.add(candidate)
                return candidate
        raise AssertionError

    for one in (*tensors.values(), *graph.nodes):
        if mark in one.name:
            one.name = free(one.name)
