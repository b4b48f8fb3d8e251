"""A QDQ graph as a torch module that trains its scales beside its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_graphsurgeon as gs
import torch
from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.nn.module import GraphModule, feed
from graphopt.nn.program import Environment

PACE = 0.1  # how far a scale moves, relative to itself, where a weight moves by 1


class QuantisedModule(GraphModule):
    """Runs a graph whose scales `learnt` are s exp(0.1 t): above zero whatever t is, and exactly s at the start.

    One vector holds t of all of them. What an optimiser moves t by is a share of the scale, however small that is.
    """

    def __init__(self, graph: gs.Graph, learnt: Sequence[str], watch: Sequence[str] = ()):
        super().__init__(graph, watch)
        starts = self.initialisers.tensors()
        self._learnt = {name: tuple(starts[name].shape) for name in learnt}
        if low := [name for name in learnt if not bool((starts[name] > 0).all())]:
            raise GraphoptError(f"the scale '{low[0]}' is not above zero everywhere; quantise the network again")
        self.moved = nn.Parameter(torch.zeros(sum(starts[name].numel() for name in learnt)))

    def scales(self) -> dict[str, Tensor]:
        """Those that are learnt, as they are now, by their names."""
        held = self.initialisers.tensors()
        if not self._learnt:
            return {}
        starts = torch.cat([held[name].reshape(-1) for name in self._learnt])
        now = (starts * torch.exp(PACE * self.moved)).split([math.prod(shape) for shape in self._learnt.values()])
        return {name: part.reshape(shape) for part, (name, shape) in zip(now, self._learnt.items(), strict=True)}

    def _environment(self, inputs: tuple[Tensor, ...]) -> Environment:
        return {**feed(self._inputs, inputs, self.initialisers), **self.scales()}
