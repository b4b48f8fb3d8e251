"""Programs: what to run in which order, and which tensors to let go after each step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import networkx as nx
import onnx_graphsurgeon as gs
from torch import Tensor

from graphopt.errors import GraphoptError
from graphopt.nn.fusion import Fused, find_fused
from graphopt.nn.operands import Op, where
from graphopt.nn.ops import build

Environment = dict[str, Tensor]  # every live tensor by its name in the graph


@dataclass(frozen=True)
class Routing:
    """Which branch of each choice runs: the selected one, else all of them, weighted by probability.

    `sampled` names the positions of the options of a choice that run, where not all do.
    """

    probabilities: Mapping[str, Tensor] = field(default_factory=dict)
    selection: Mapping[str, str] = field(default_factory=dict)
    sampled: Mapping[str, Collection[int]] = field(default_factory=dict)


class Step(Protocol):
    """One unit of work: reads and writes tensors of the environment by name."""

    @property
    def label(self) -> str: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def writes(self) -> tuple[str, ...]: ...
    @property
    def position(self) -> int: ...
    def run(self, environment: Environment, routing: Routing) -> None: ...


@dataclass(frozen=True)
class NodeStep:
    """One node, or nodes that were fused into one function. An omitted operand has the name ''."""

    label: str
    function: Op
    operands: tuple[str, ...]
    writes: tuple[str, ...]
    position: int

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for name in self.operands if name)

    def run(self, environment: Environment, routing: Routing) -> None:
        operands = [environment[name] if name else None for name in self.operands]
        try:
            result = self.function(*operands)
        except (RuntimeError, IndexError, ValueError) as error:
            shapes = ", ".join("-" if operand is None else str(tuple(operand.shape)) for operand in operands)
            raise GraphoptError(
                f"{self.label} failed on inputs of shape {shapes}: {error}. The graph was traced at one image size; "
                "check that the input suits it"
            ) from error
        if isinstance(result, Tensor):
            environment[self.writes[0]] = result
        else:
            for name, tensor in zip(self.writes, result, strict=True):
                environment[name] = tensor


def node_steps(
    nodes: Sequence[gs.Node], visible: Collection[str], opset: int, position: Mapping[str, int]
) -> list[Step]:
    """One step for each node, with what `find_fused` recognises fused. `visible` tensors are never fused away."""
    fused = find_fused(nodes, frozenset(visible))
    swallowed = {id(node) for group in fused for node in group.nodes}
    steps: list[Step] = [_fused_step(group, position) for group in fused]
    steps += [_node_step(node, position[node.name], opset) for node in nodes if id(node) not in swallowed]
    return steps


def _node_step(node: gs.Node, position: int, opset: int) -> NodeStep:
    function = build(node, opset)
    outputs = node.outputs if node.op == "Split" else node.outputs[:1]  # no other op's further outputs are computed
    return NodeStep(
        where(node),
        function,
        tuple(tensor.name for tensor in node.inputs),
        tuple(tensor.name for tensor in outputs),
        position,
    )


def _fused_step(group: Fused, position: Mapping[str, int]) -> NodeStep:
    last = group.output.inputs[0]
    inputs = tuple(tensor.name for tensor in group.inputs)
    return NodeStep(
        f"the {group.what} at '{last.name}'", group.function, inputs, (group.output.name,), position[last.name]
    )


class Program:
    """Steps in an order in which they can run. A tensor that a step wrote is dropped after its last use."""

    def __init__(self, steps: Iterable[Step], results: Collection[str]):
        """`results` are the names that must still be there at the end."""
        ordered = _sorted(list(steps))
        self.makes = frozenset(name for step in ordered for name in step.writes)
        self.reads = tuple(dict.fromkeys(name for step in ordered for name in step.reads if name not in self.makes))
        self._results = tuple(results)
        self._labels = {name: step.label for step in reversed(ordered) for name in step.reads}
        last_use = {name: i for i, step in enumerate(ordered) for name in (*step.writes, *step.reads)}
        drops: list[list[str]] = [[] for _ in ordered]
        for name, i in last_use.items():
            if name in self.makes and name not in results and name:
                drops[i].append(name)
        self._plan = [(step, tuple(names)) for step, names in zip(ordered, drops, strict=True)]

    def run(self, environment: Environment, routing: Routing) -> None:
        """Runs every step; `environment` must hold all that `reads` names."""
        for step, drops in self._plan:
            step.run(environment, routing)
            for name in drops:
                del environment[name]

    def check(self, available: Collection[str]) -> None:
        """Raises GraphoptError where a step reads, or the results name, what is neither made nor `available`."""
        for name in self._results:
            if name not in self.makes and name not in available:
                raise GraphoptError(
                    f"the output '{name}' is not computed: no node makes it, or it is a second, optional output "
                    "(of a pool, a norm, a dropout), which torch does not give; take it out of the graph's outputs"
                )
        for name in self.reads:
            if name not in available:
                raise GraphoptError(
                    f"{self._labels[name]} reads the tensor '{name}', which nothing before it makes; a fragment may "
                    "read only tensors that exist outside its site and before it, a site must list all its outputs, "
                    "and of an op with optional further outputs only the first is computed"
                )


def _sorted(steps: list[Step]) -> list[Step]:
    """Producers before readers, otherwise by position."""
    maker = {name: i for i, step in enumerate(steps) for name in step.writes if name}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(steps)))
    graph.add_edges_from((maker[name], i) for i, step in enumerate(steps) for name in step.reads if name in maker)
    try:
        order = list(nx.lexicographical_topological_sort(graph, key=lambda i: (steps[i].position, i)))
    except nx.NetworkXUnfeasible as error:
        labels = ", ".join(steps[i].label for i, _ in nx.find_cycle(graph))
        raise GraphoptError(
            f"these steps wait for each other: {labels}; a site must be convex, and a fragment may not read what "
            "comes after its site"
        ) from error
    return [steps[i] for i in order]
