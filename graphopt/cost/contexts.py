"""What a candidate is priced as: its context, which is the site and all that folds or fuses with it, as a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs

from graphopt.ir.canonical import to_model
from graphopt.ir.passes import Pass
from graphopt.ir.regions import region_graph
from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.ir.space import KEEP, Choice, Space
from graphopt.ir.view import GraphView


@dataclass(frozen=True)
class Context:
    """One option of one choice in its context. Contexts of one shape and wiring have the same `key` and `model`.

    `share` says how far the walk through the space has come.
    """

    share: float
    choice: str
    option: str
    key: str
    model: onnx.ModelProto


def candidate_contexts(space: Space, cleanups: Sequence[Pass]) -> Iterator[Context]:
    """Every option of every choice, `keep` first, with the exact clean-ups applied to its context."""
    view = GraphView(space.graph)
    made: dict[str, onnx.ModelProto] = {}
    total, done = sum(len(choice.options) for choice in space.choices.values()), 0
    for choice in space.choices.values():
        nodes = view.regions.context(choice.site.nodes)
        alike = _wiring(view, nodes, choice)
        for option in choice.options:
            fragment = None if option == KEEP else choice.candidates[option].fragment
            key = f"{option}|{alike}|{_lines(fragment.nodes) if fragment else ''}"
            if key not in made:
                graph = region_graph(view.regions, nodes, fragment, choice.site.nodes if fragment else ())
                graph.toposort()
                rewrite_everywhere(graph, cleanups)
                made[key] = to_model(graph)
            done += 1
            yield Context(done / total, choice.name, option, key, made[key])


def _wiring(view: GraphView, context: Sequence[str], choice: Choice) -> str:
    """What tells a context from another, whatever its names: see `_lines`; what is read outside; where the site is."""
    around, inside = set(context), set(choice.site.nodes)
    nodes = [view.nodes[name] for name in context]
    read = [[any(user.name not in around for user in t.outputs) for t in node.outputs] for node in nodes]
    return repr([*zip(_lines(nodes), read, [node.name in inside for node in nodes], strict=True)])


def _lines(nodes: Iterable[gs.Node]) -> list[tuple[object, ...]]:
    """Kinds, attributes, shapes and connections, without names."""
    numbers: dict[str, int] = {}
    lines: list[tuple[object, ...]] = []
    for node in nodes:
        operands = [
            (numbers.setdefault(t.name, len(numbers)), _shape(t), isinstance(t, gs.Constant)) for t in node.inputs
        ]
        results = [numbers.setdefault(t.name, len(numbers)) for t in node.outputs]
        attributes = sorted((key, str(value)) for key, value in node.attrs.items())
        lines.append((node.op, attributes, operands, results))
    return lines


def _shape(tensor: gs.Tensor) -> tuple[int, ...] | None:
    """A constant's shape is a list until its values are read."""
    return None if tensor.shape is None else tuple(tensor.shape)
