"""Fragments: the small graphs that candidates put in place of a site."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_graphsurgeon as gs


@dataclass
class Fragment:
    """Nodes in topological order that read tensors of the host graph by name and replace a site's outputs.

    `outputs` maps each output tensor of the site to the tensor (of the fragment, or of the host) that replaces it.
    The tensors inside are the fragment's own: inputs from the host are stand-ins with the host's names.
    """

    nodes: list[gs.Node] = field(default_factory=list)
    outputs: dict[str, gs.Tensor] = field(default_factory=dict)
    constants: list[gs.Constant] = field(default_factory=list)

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)

    def copy(self) -> Fragment:
        """The same ops with tensors of their own, which share the values of constants."""
        copies: dict[str, gs.Tensor] = {}

        def copied(tensor: gs.Tensor) -> gs.Tensor:
            return copied_once(tensor, copies)

        nodes = [
            gs.Node(n.op, n.name, dict(n.attrs), [copied(t) for t in n.inputs], [copied(t) for t in n.outputs])
            for n in self.nodes
        ]
        outputs = {name: copied(tensor) for name, tensor in self.outputs.items()}
        return Fragment(nodes, outputs, [copied(tensor) for tensor in self.constants])


def copied_once(tensor: gs.Tensor, copies: dict[str, gs.Tensor]) -> gs.Tensor:
    """A tensor of its own with the same name, the one in `copies` where there is one; constants share their values."""
    if tensor.is_empty():
        return gs.Variable.empty()
    if tensor.name not in copies:
        copies[tensor.name] = (
            gs.Constant(tensor.name, tensor.values)
            if isinstance(tensor, gs.Constant)
            else gs.Variable(tensor.name, tensor.dtype, tensor.shape)
        )
    return copies[tensor.name]
