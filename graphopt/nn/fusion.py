"""Finds what runs as one step: channel norms in any spelling, and pairs that round to integers and back."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import onnx_graphsurgeon as gs
import torch.nn.functional as F
from torch import Tensor

from graphopt.idioms import channel_layer_norm, epsilon_of
from graphopt.ir.matcher import Match, Matcher
from graphopt.nn.fake_quantise import fake_quantise, grid_of
from graphopt.nn.operands import Op


@dataclass(frozen=True)
class Fused:
    """Nodes that run as one function of `inputs`, giving `output`. An input that is left out is an empty tensor."""

    nodes: tuple[gs.Node, ...]
    function: Op
    inputs: tuple[gs.Tensor, ...]
    output: gs.Tensor
    what: str = "channel norm"


def find_fused(nodes: Sequence[gs.Node], visible: Set[str]) -> list[Fused]:
    """The channel norms and pairs among `nodes` none of whose inner tensors is `visible` or read by any other node."""
    matcher, found, taken = Matcher(nodes), list[Fused](), set[int]()
    for anchor in reversed(matcher.anchors(channel_layer_norm)):  # the largest form comes first
        match = None if id(anchor) in taken else matcher.match(channel_layer_norm, anchor)
        if match is not None and _is_sealed(match, visible) and _has_weights_of_channels(match):
            found.append(_fused(match))
            taken.update(id(node) for node in match.nodes)
    return found + [_pair(node) for node in nodes if _is_pair(node, visible)]


def channel_norm(epsilon: float) -> Op:
    """(N, C, H, W) normalised over C: (x - mean) / sqrt(var + epsilon). Weight and bias have C elements, or one."""

    def run(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        channels = rows.shape[-1:]
        weight, bias = (None if vector is None else vector.reshape(-1).expand(channels) for vector in (weight, bias))
        return F.layer_norm(rows, channels, weight, bias, epsilon).permute(0, 3, 1, 2)

    return run


def _is_pair(node: gs.Node, visible: Set[str]) -> bool:
    """Whether a QuantizeLinear is read by one DequantizeLinear alone, on the same grid."""
    if node.op != "QuantizeLinear" or node.outputs[0].name in visible or len(node.outputs[0].outputs) != 1:
        return False
    reader = node.outputs[0].outputs[0]
    names = [[tensor.name for tensor in each.inputs[1:]] for each in (node, reader)]
    axes = [each.attrs.get("axis", 1) for each in (node, reader)]
    return bool(reader.op == "DequantizeLinear" and names[0] == names[1] and axes[0] == axes[1])


def _pair(node: gs.Node) -> Fused:
    reader = node.outputs[0].outputs[0]
    return Fused((node, reader), fake_quantise(grid_of(node)), tuple(node.inputs[:2]), reader.outputs[0], "rounding")


def _fused(match: Match) -> Fused:
    x, empty = match.inputs["x"], gs.Variable.empty()
    weights = (match.constants.get(role, empty) for role in ("weight", "bias"))
    return Fused(match.nodes, channel_norm(epsilon_of(match)), (x, *weights), match.output)


def _is_sealed(match: Match, visible: Set[str]) -> bool:
    inside = {id(node) for node in match.nodes}
    inner = [tensor for node in match.nodes for tensor in node.outputs if tensor is not match.output]
    return all(
        tensor.name not in visible and all(id(reader) in inside for reader in tensor.outputs) for tensor in inner
    )


def _has_weights_of_channels(match: Match) -> bool:
    sizes = {match.constants[role].values.size for role in ("weight", "bias") if role in match.constants}
    shape = match.inputs["x"].shape
    return shape is not None and sizes <= {1, shape[1]}
