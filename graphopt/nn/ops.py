"""The table of ONNX ops that torch runs. Each entry turns a node into a callable on tensors."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError
from graphopt.nn import convolution, fake_quantise, layout, pointwise
from graphopt.nn.operands import Op, OpBuilder, where
from graphopt.nn.resize import resize

OLDEST_OPSET = 13  # axes, splits and pads are operands from here on, and Softmax acts on one axis

_TABLE: dict[str, OpBuilder] = {
    **pointwise.TABLE, **convolution.TABLE, **layout.TABLE, **fake_quantise.TABLE, "Resize": resize,
}  # fmt: skip


def supported(op: str) -> bool:
    """True where torch can run and train the ONNX op of this name."""
    return op in _TABLE


def build(node: gs.Node, opset: int) -> Op:
    """The node as a function of its inputs (None for an omitted one), giving one tensor or a tuple.

    Raises GraphoptError for an op, an option of it or an opset that torch cannot run.
    """
    if opset < OLDEST_OPSET:
        raise GraphoptError(
            f"{where(node)}: opset {opset} is too old to run in torch, {OLDEST_OPSET} is the oldest; "
            "convert the model with onnx.version_converter.convert_version"
        )
    if not supported(node.op) or (getattr(node, "domain", None) or "ai.onnx") != "ai.onnx":
        domain = getattr(node, "domain", None) or "ai.onnx"
        raise GraphoptError(
            f"{where(node)}: op '{node.op}' of {domain} opset {opset} cannot run in torch; express it with other ops, "
            f"constant-fold it, or cut the graph before it. Supported: {', '.join(sorted(_TABLE))}"
        )
    return _TABLE[node.op](node)
