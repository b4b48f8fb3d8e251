"""The values that the NPU's vector units handle beside convolutions: sums, gates, norms, poolings, concatenations.

They are cheap in float16 beside the bytes that they move. With 16 bit integers each of them is scaled anew, which a
regression over what the compiler says does not hear.
"""

from __future__ import annotations

from math import prod

import onnx

from graphopt.cost.counts import Shapes, static_shapes

_OF_INPUTS = {"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax"}
# Done with the convolution before them, or by another look at the same values.
_FREE = {
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Identity"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Constant", "Shape", "Cast", "Transpose", "Split", "Slice"),
    *("Expand", "Gather", "DepthToSpace", "SpaceToDepth", "BatchNormalization"),
}


def vector_values(model: onnx.ModelProto) -> int:
    """How many values all ops make that are not done with a convolution; of poolings and sums, how many they read.

    An op with a constant beside its one input counts nothing: constants are folded into what is before or after.

    Raises:
        GraphoptError: a shape that is not static.
    """
    shapes = static_shapes(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:  # weights of a QDQ graph are dequantised
        if node.op_type in ("DequantizeLinear", "Constant") and set(node.input) <= constants:
            constants.add(node.output[0])
    return sum(_values(node, shapes, constants) for node in model.graph.node)


def _values(node: onnx.NodeProto, shapes: Shapes, constants: set[str]) -> int:
    if node.op_type in _FREE:
        return 0
    if node.op_type in _OF_INPUTS:
        return prod(shapes[node.input[0]])
    if node.op_type in ("Add", "Sub", "Mul", "Div", "Pow") and constants & set(node.input):
        return 0
    return sum(prod(shapes[name]) for name in node.output if name)
