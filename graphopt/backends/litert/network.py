"""A canonical graph as the torch module that is converted: each node is a module of its own, so that the converter
carries its number into the names of the tensors of the .tflite.
"""

from __future__ import annotations

import re

import onnx_graphsurgeon as gs
from torch import Tensor, nn

from graphopt.backends.litert.integers import integer_module
from graphopt.ir.quantised import DEQUANTISE, PAIR
from graphopt.nn.module import Result, base_initialisers, collect, feed, graph_inputs
from graphopt.nn.ops import build
from graphopt.nn.program import Environment

_OF_TWO = ("Add", "Div", "Mul", "Sub")
_NUMBER = re.compile(r"_(?:NodeModule|PerTensor|Weights|Float)_node(\d+)")


def node_number(tensor: str) -> int | None:
    """Which node of the graph a tensor of the .tflite comes from, by its place; None where its name does not say."""
    found = _NUMBER.search(tensor)
    return None if found is None else int(found.group(1))


class _NodeModule(nn.Module):
    def __init__(self, node: gs.Node, opset: int):
        super().__init__()
        self._function = build(node, opset)

        self._spread = node.op in _OF_TWO

    def forward(self, *operands: Tensor | None) -> Result:
        if self._spread and any(x is not None and x.dim() == 4 for x in operands):
            # a scalar keeps the converter from the layout that all around it have
            operands = tuple(x.reshape(1, 1, 1, 1) if x is not None and x.dim() == 0 else x for x in operands)
        return self._function(*operands)


class ConvertedNetwork(nn.Module):
    """Runs the nodes of a canonical graph one by one, in NCHW. Images, (N, C, H, W) in the graph, come in and go out as
    (N, H, W, C), as cameras and bitmaps hold them.
    """

    def __init__(self, graph: gs.Graph):
        """Raises GraphoptError: an op that torch cannot run, integers that LiteRT does not compute with."""
        super().__init__()
        graph = graph.copy()
        modules = [integer_module(node) or _NodeModule(node, graph.opset) for node in graph.nodes]
        for node in graph.nodes:
            if node.op in PAIR:  # the module holds the steps, and weights
                node.inputs = [] if isinstance(node.inputs[0], gs.Constant) else node.inputs[:1]
        self.initialisers = base_initialisers(graph)
        self._inputs = [tensor.name for tensor in graph_inputs(graph)]
        self._outputs = [tensor.name for tensor in graph.outputs]
        self._wiring = [([t.name for t in node.inputs], [t.name for t in node.outputs]) for node in graph.nodes]
        self._backs = {node.outputs[0].name: n for n, node in enumerate(graph.nodes) if node.op == DEQUANTISE}
        for number, module in enumerate(modules):
            self.add_module(f"node{number}", module)

    def forward(self, *inputs: Tensor) -> Result:
        images = tuple(x.permute(0, 3, 1, 2) if x.dim() == 4 else x for x in inputs)
        environment = feed(self._inputs, images, self.initialisers)
        for number, (reads, writes) in enumerate(self._wiring):
            if number in self._backs.values():
                continue
            operands = [self._operand(name, environment) for name in reads]
            made = self.get_submodule(f"node{number}")(*operands)
            parts = (made,) if isinstance(made, Tensor) else made
            environment.update(zip(writes, parts, strict=False))  # no op's further, optional outputs are computed
        environment.update({name: self._operand(name, environment) for name in self._outputs})
        made = collect(self._outputs, environment)
        parts = (made,) if isinstance(made, Tensor) else made
        parts = tuple(y.permute(0, 2, 3, 1) if y.dim() == 4 else y for y in parts)
        return parts[0] if len(parts) == 1 else parts

    def _operand(self, name: str, environment: Environment) -> Tensor | None:
        """What a node reads. Integers go back to floats for each reader anew, which the converter's layouts need."""
        if name in self._backs:
            number = self._backs[name]
            made: Tensor = self.get_submodule(f"node{number}")(*(environment[read] for read in self._wiring[number][0]))
            return made
        return environment[name] if name else None
