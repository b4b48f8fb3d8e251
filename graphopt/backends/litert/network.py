"""A canonical graph as the torch module that is converted: each node is a module of its own, so that the converter
carries its number into the names of the tensors of the .tflite.
"""

from __future__ import annotations

import re

import onnx_graphsurgeon as gs
from torch import Tensor, nn

from graphopt.nn.module import Result, base_initialisers, collect, feed, graph_inputs
from graphopt.nn.ops import build

_OF_TWO = ("Add", "Div", "Mul", "Sub")
_NUMBER = re.compile(r"_NodeModule_node(\d+)")


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
        """Raises GraphoptError: an op that torch cannot run."""
        super().__init__()
        self.initialisers = base_initialisers(graph)
        self._inputs = [tensor.name for tensor in graph_inputs(graph)]
        self._outputs = [tensor.name for tensor in graph.outputs]
        self._wiring = [([t.name for t in node.inputs], [t.name for t in node.outputs]) for node in graph.nodes]
        for number, node in enumerate(graph.nodes):
            self.add_module(f"node{number}", _NodeModule(node, graph.opset))

    def forward(self, *inputs: Tensor) -> Result:
        images = tuple(x.permute(0, 3, 1, 2) if x.dim() == 4 else x for x in inputs)
        environment = feed(self._inputs, images, self.initialisers)
        for number, (reads, writes) in enumerate(self._wiring):
            operands = [environment[name] if name else None for name in reads]
            made = self.get_submodule(f"node{number}")(*operands)
            parts = (made,) if isinstance(made, Tensor) else made
            environment.update(zip(writes, parts, strict=False))  # no op's further, optional outputs are computed
        made = collect(self._outputs, environment)
        parts = (made,) if isinstance(made, Tensor) else made
        parts = tuple(y.permute(0, 2, 3, 1) if y.dim() == 4 else y for y in parts)
        return parts[0] if len(parts) == 1 else parts
