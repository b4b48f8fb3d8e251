"""Which features a network and its teacher have in common."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError


def shared_features(network: gs.Graph, teacher: gs.Graph) -> list[str]:
    """The residual sums (N, C, H, W) that rewriting left in place: same name, same channels, in the network's order."""
    theirs = _residual_sums(teacher)
    found = [name for name, shape in _residual_sums(network).items() if theirs.get(name) == shape]
    if not found:
        raise GraphoptError(
            "finetune.losses: 'features' needs residual sums that the network shares with the original, and there are "
            "none; leave 'features' out"
        )
    return found


def _residual_sums(graph: gs.Graph) -> dict[str, tuple[int, ...]]:
    outputs = {tensor.name for tensor in graph.outputs}
    return {
        node.outputs[0].name: tuple(node.outputs[0].shape)
        for node in graph.nodes
        if node.op == "Add"
        and not any(isinstance(tensor, gs.Constant) for tensor in node.inputs)
        and len(node.outputs[0].shape or ()) == 4
        and node.outputs[0].name not in outputs
    }
