"""The chosen network while it trains: fades advance, and in the end training forms collapse into deployed weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import onnx_graphsurgeon as gs
import torch
from torch import Tensor

from graphopt.errors import GraphoptError
from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.space import Space
from graphopt.ir.training_forms import TrainingGraph, has_form, training_graph
from graphopt.nn.module import GraphModule
from graphopt.nn.program import Program, Routing, node_steps

COLLAPSE_TOLERANCE = 1e-12  # in fp64, relative to the largest output
CAST_TOLERANCE = 1e-4  # in fp32, where the network itself asks for that type


class TrainingModule(GraphModule):
    """Runs a training graph. `advance` says how far the training has come; at the start every fade is 1."""

    def __init__(self, form: TrainingGraph, watch: Sequence[str] = ()):
        super().__init__(form.graph, watch)
        self._fades, self._computed = form.fades, form.weights
        results = tuple(dict.fromkeys(form.weights.values()))
        position = {node.name: i for i, node in enumerate(form.graph.nodes)}
        steps = node_steps(_upstream(form.graph, results), results, form.graph.opset, position)
        self._weights = Program(steps, results)

    @torch.no_grad()
    def advance(self, progress: float) -> None:
        """Sets every fade for the share of the training that is done, 0 to 1."""
        tensors = self.initialisers.tensors() if self._fades else {}
        for name, share in self._fades.items():
            tensors[name].fill_(max(0.0, 1 - progress / share))

    @torch.no_grad()
    def deployed(self) -> dict[str, Tensor]:
        """Every constant by its name, those of the deployed form as its weights compute them now."""
        environment = self.initialisers.tensors()
        self._weights.run(environment, Routing())
        return {**environment, **{name: environment[made] for name, made in self._computed.items()}}


def check_forms(space: Space, passes: Sequence[Pass], exclude: Sequence[str]) -> None:
    """Makes every training form that may be needed, so that what is wrong with one is said before a long search."""
    for rule in (rule for rule in passes if has_form(rule)):
        selection = {name: rule.name for name, choice in space.choices.items() if rule.name in choice.candidates}
        TrainingModule(training_graph(apply_selection(space, selection), space, selection, [rule], exclude))


@torch.no_grad()
def collapse(network: TrainingModule, graph: gs.Graph, image: Tensor) -> float:
    """Writes the weights of a trained network into `graph`, its deployed form, in place.

    Returns the largest relative difference of both on `image` (N, C, H, W), in fp64; more than rounding is an error.
    """
    single = any(node.op == "Cast" for node in graph.nodes)  # it would bring fp32 into fp64
    kind, tolerance = (torch.float32, CAST_TOLERANCE) if single else (torch.float64, COLLAPSE_TOLERANCE)
    trained, deployed = copy.deepcopy(network).to(kind), GraphModule(graph).to(kind)
    trained.advance(1.0)
    values = trained.deployed()
    for name, parameter in deployed.named_initialisers().items():
        parameter.copy_(values[name])
    pairs = [_results(module(image.to(kind))) for module in (trained, deployed)]
    worst = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in zip(*pairs, strict=True))
    if not worst <= tolerance:
        raise GraphoptError(
            f"finetune: the deployed form differs by {worst:.2e} relative from what was trained "
            f"(allowed {tolerance:g}); leave out the passes that have training forms, one after the other"
        )
    deployed.float().write_back(graph)
    return worst


def _results(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def _upstream(graph: gs.Graph, names: tuple[str, ...]) -> list[gs.Node]:
    """The nodes that the tensors `names` are computed by, in the graph's order."""
    tensors = graph.tensors()
    pending, found = [tensors[name] for name in names], set[str]()
    while pending:
        for node in pending.pop().inputs:
            if node.name not in found:
                found.add(node.name)
                pending += node.inputs
    return [node for node in graph.nodes if node.name in found]
