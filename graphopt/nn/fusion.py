"""Finds decomposed channel norms in a graph and runs each as one fused kernel.

Transpose -> LayerNormalization -> Transpose needs nothing here: the transposes are views, and the norm in between
already is one kernel over channels-last rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import onnx_graphsurgeon as gs
import torch.nn.functional as F
from torch import Tensor

from graphopt.nn.operands import Op, fixed


@dataclass(frozen=True)
class Fused:
    """Nodes that run as one function of `inputs`, giving `output`."""

    nodes: tuple[gs.Node, ...]
    function: Op
    inputs: tuple[gs.Tensor, ...]
    output: gs.Tensor


def find_fused(nodes: Iterable[gs.Node], visible: Set[str]) -> list[Fused]:
    """The channel norms among `nodes` none of whose inner tensors is `visible` or read by any other node."""
    own = {id(node) for node in nodes}
    found = (_channel_norm(node, own, visible) for node in nodes if node.op == "Div")
    return [fused for fused in found if fused is not None]


def channel_norm(epsilon: float) -> Op:
    """(N, C, ...) normalised over C: (x - mean) / sqrt(var + epsilon), with weight and bias of C elements."""

    def run(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        weight = None if weight is None else weight.reshape(-1)
        bias = None if bias is None else bias.reshape(-1)
        rows = x.permute(0, 2, 3, 1) if x.dim() == 4 else x.movedim(1, -1)
        normal = F.layer_norm(rows, rows.shape[-1:], weight, bias, epsilon)
        return normal.permute(0, 3, 1, 2) if x.dim() == 4 else normal.movedim(-1, 1)

    return run


def _channel_norm(div: gs.Node, own: Set[int], visible: Set[str]) -> Fused | None:
    """Matches (x - m) / sqrt(mean((x - m)^2) + eps), m = mean(x), and a weight and a bias after it."""
    root = _producer(div.inputs[1], "Sqrt")
    centred = _producer(div.inputs[0], "Sub")
    add = _producer(root.inputs[0], "Add") if root else None
    if root is None or centred is None or add is None:
        return None
    variance, epsilon = _with_number(add)
    square = _channel_mean(variance)
    if square is None or epsilon is None:
        return None
    squared = _producer(square.inputs[0], "Pow", "Mul")
    if squared is None or not (fixed(squared, 1) == [2.0] if squared.op == "Pow" else _same(*squared.inputs)):
        return None
    second = _producer(squared.inputs[0], "Sub")  # exporters that keep the spelling subtract twice
    x = centred.inputs[0]
    mean = _channel_mean(centred.inputs[1])
    if second is None or mean is None or not _same(mean.inputs[0], x):
        return None
    if not _same(second.inputs[0], x) or (second is not centred and _channel_mean(second.inputs[1]) is not mean):
        return None
    inner = [mean, centred, squared, square, add, root]
    inner += [second] if second is not centred else []
    last = div
    affine: list[gs.Tensor] = []
    for op in ("Mul", "Add"):
        follower = _only_reader(last, op, visible)
        vector = _channel_vector(follower, last, x) if follower is not None and id(follower) in own else None
        if follower is None or vector is None:
            break
        inner.append(last)
        last, affine = follower, [*affine, vector]
    group = {id(node) for node in (*inner, last)}
    sealed = all(
        tensor.name not in visible and all(id(reader) in group for reader in tensor.outputs)
        for node in inner
        for tensor in node.outputs
    )
    if not sealed or not group <= own:
        return None
    return Fused((*inner, last), channel_norm(epsilon), (x, *affine), last.outputs[0])


def _producer(tensor: gs.Tensor, *ops: str) -> gs.Node | None:
    node = tensor.inputs[0] if tensor.inputs else None
    return node if node is not None and node.op in ops else None


def _same(a: gs.Tensor, b: gs.Tensor) -> bool:
    return a is b or bool(a.name and a.name == b.name)


def _with_number(add: gs.Node) -> tuple[gs.Tensor, float | None]:
    """The tensor and the number that an Add of a number adds, in either order."""
    for number, other in ((1, 0), (0, 1)):
        value = fixed(add, number)
        if value is not None and len(value) == 1:
            return add.inputs[other], float(value[0])
    return add.inputs[0], None


def _channel_mean(tensor: gs.Tensor) -> gs.Node | None:
    """The ReduceMean over axis 1, axes kept, that makes `tensor`."""
    node = _producer(tensor, "ReduceMean")
    if node is None or not node.attrs.get("keepdims", 1):
        return None
    axes = fixed(node, 1) if len(node.inputs) > 1 else list(node.attrs.get("axes") or [])
    shape = node.inputs[0].shape
    if shape is None or axes is None or len(axes) != 1 or len(shape) < 3:
        return None
    return node if axes[0] % len(shape) == 1 else None


def _only_reader(node: gs.Node, op: str, visible: Set[str]) -> gs.Node | None:
    out = node.outputs[0]
    reader = out.outputs[0] if len(out.outputs) == 1 and out.name not in visible else None
    return reader if reader is not None and reader.op == op else None


def _channel_vector(node: gs.Node, previous: gs.Node, x: gs.Tensor) -> gs.Constant | None:
    """The constant operand beside `previous`, where it is one value for each channel of `x`."""
    other = node.inputs[1] if node.inputs[0] is previous.outputs[0] else node.inputs[0]
    if not isinstance(other, gs.Constant) or x.shape is None:
        return None
    channels, after = x.shape[1], len(x.shape) - 2
    plain = (channels, *[1] * after)
    return other if tuple(other.shape) in (plain, (1, *plain)) else None
