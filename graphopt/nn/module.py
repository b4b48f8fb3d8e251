"""A canonical graph as a torch module: forward and backward by torch, weights under their ONNX names."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs
from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.nn.initialisers import Initialisers, is_weight
from graphopt.nn.program import Environment, Program, Routing, node_steps

Result = Tensor | tuple[Tensor, ...]


def base_initialisers(graph: gs.Graph) -> Initialisers:
    """Every constant of the graph; what `is_weight` names is trained."""
    held = Initialisers()
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant):
            held.store(tensor, is_weight(tensor))
    return held


def graph_inputs(graph: gs.Graph) -> list[gs.Variable]:
    """The inputs that a caller gives (old files list initialisers among them)."""
    return [tensor for tensor in graph.inputs if not isinstance(tensor, gs.Constant)]


def feed(names: list[str], inputs: tuple[Tensor, ...], held: Initialisers) -> Environment:
    """The environment in which a graph starts."""
    if len(inputs) != len(names):
        raise GraphoptError(f"the graph takes {len(names)} inputs ({', '.join(names)}), {len(inputs)} were given")
    return {**held.tensors(), **dict(zip(names, inputs, strict=True))}


def collect(names: list[str], environment: Environment) -> Result:
    """The tensor of a graph with one output, a tuple otherwise."""
    return environment[names[0]] if len(names) == 1 else tuple(environment[name] for name in names)


class GraphModule(nn.Module):
    """Runs an ONNX graph. Inputs and outputs are those of the graph, in its order and layout.

    Other batch and image sizes than the traced ones work wherever the ops allow it. Runs well on channels-last
    tensors. Raises GraphoptError for an op that torch cannot run. `watch` names inner tensors that `watched` gives.
    """

    def __init__(self, graph: gs.Graph, watch: Sequence[str] = ()):
        super().__init__()
        self.initialisers = base_initialisers(graph)
        self._inputs = [tensor.name for tensor in graph_inputs(graph)]
        self._outputs = [tensor.name for tensor in graph.outputs]
        position = {node.name: i for i, node in enumerate(graph.nodes)}
        self.watch = tuple(watch)
        results = [*self._outputs, *watch]
        self._program = Program(node_steps(graph.nodes, results, graph.opset, position), results)
        self._program.check({*self._inputs, *self.initialisers.tensors()})

    def _environment(self, inputs: tuple[Tensor, ...]) -> Environment:
        """What the graph starts with."""
        return feed(self._inputs, inputs, self.initialisers)

    def forward(self, *inputs: Tensor) -> Result:
        environment = self._environment(inputs)
        self._program.run(environment, Routing())
        return collect(self._outputs, environment)

    def watched(self, *inputs: Tensor) -> tuple[Result, dict[str, Tensor]]:
        """As `forward`, and the watched tensors by name."""
        environment = self._environment(inputs)
        self._program.run(environment, Routing())
        return collect(self._outputs, environment), {name: environment[name] for name in self.watch}

    def named_initialisers(self) -> dict[str, nn.Parameter]:
        """The trained parameters by the names of their ONNX initialisers."""
        return self.initialisers.trained()

    def write_back(self, graph: gs.Graph) -> None:
        """Puts the weights into the constants of the same names of `graph`, bit for bit."""
        constants = (tensor for tensor in graph.tensors().values() if isinstance(tensor, gs.Constant))
        self.initialisers.write_back(constants, "the graph")
