"""The values that the NPU makes and moves in integers, which a regression over what the compiler says does not hear.

The NPU keeps channels in groups of 32, so that an image of three channels moves ten times its bytes: all values count
with their channels filled up. In float16 they are cheap beside the bytes that they move; in integers each is scaled
anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import onnx

from graphopt.cost.counts import Shapes, static_shapes

_LINEAR = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow")
_OF_INPUTS = {"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax"}
_LAYOUT = ("Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze")
# Done with the op before them, or by another look at the same values.
_FREE = {
    *("QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    *("Constant", "Shape", "Cast", "Split", "Slice", "Expand", "Gather", "GatherND", "DepthToSpace", "SpaceToDepth"),
    *("Pad", "Pow"),
}
_GROUP = 32


@dataclass(frozen=True)
class Values:
    """Counts of values, channels in groups of 32.

    `convolved`: what convolutions and matrix products make, what is resized, what an argmax reads. `scaled`: what an
    affine by channels makes that no convolution takes along (images that are normalised, batch norms before a
    convolution), and what is transposed. `border`: inputs and outputs of the network. `joined`: what sums, gates, norms
    and nonlinearities make and poolings read, and concatenations.
    """

    convolved: int
    scaled: int
    border: int
    joined: int


def values_of(model: onnx.ModelProto) -> Values:
    """The values of a network, float or QDQ. An affine with a quantisation between it and its convolution is none that
    the convolution takes along.

    Raises:
        GraphoptError: a shape that is not static.
    """
    shapes = static_shapes(model)
    graph = _Graph(model)
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        kind, names = graph.kind(node, shapes)
        counts[kind] += sum(padded_values(shapes[name], node.op_type in ("MatMul", "Gemm")) for name in names if name)
    ends = [value.name for value in (*model.graph.input, *model.graph.output) if value.name not in graph.weights]
    border = sum(padded_values(shapes[name]) for name in ends)
    return Values(counts["convolved"], counts["scaled"], border, counts["joined"])


def padded_values(shape: tuple[int, ...], channels_last: bool = False) -> int:
    """Values of a tensor, its channels rounded up: the second axis of images, the last of anything else."""
    if not shape:
        return 0
    axis = 1 if len(shape) >= 4 and not channels_last else len(shape) - 1
    return prod(shape[:axis]) * -(-shape[axis] // _GROUP) * _GROUP * prod(shape[axis + 1 :])


class _Graph:
    """Which tensors are constant, and what each op does with those that are not."""

    def __init__(self, model: onnx.ModelProto):
        self.weights = {tensor.name for tensor in model.graph.initializer}
        self.constant = set(self.weights)
        for node in model.graph.node:  # weights of a QDQ graph are dequantised
            if node.op_type in ("DequantizeLinear", "Constant") and set(node.input) <= self.constant:
                self.constant.add(node.output[0])
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.uses = Counter(name for node in model.graph.node for name in node.input)

    def kind(self, node: onnx.NodeProto, shapes: Shapes) -> tuple[str, list[str]]:
        """The counter that an op adds to, and the tensors that it adds."""
        op, made = node.op_type, list(node.output)
        if set(node.input) <= self.constant and node.input:
            return "", []
        if op in _LINEAR or op in ("Resize", "Upsample"):
            return "convolved", made
        if op == "ArgMax":
            return "convolved", [node.input[0]]
        if op == "Transpose":
            return "scaled", made
        if op in _OF_INPUTS:
            return "joined", [node.input[0]]
        constants = [name for name in node.input if name in self.constant]
        if op == "BatchNormalization" or (op in _ARITHMETIC and constants):
            by_channel = op == "BatchNormalization" or prod(shapes[constants[0]]) > 1
            return ("scaled", made) if by_channel and not self._is_taken_along(node) else ("", [])
        return ("", []) if op in _FREE else ("joined", made)

    def _is_taken_along(self, node: onnx.NodeProto) -> bool:
        """Whether a convolution comes before an affine, with nothing but affines and changes of layout between them."""
        while True:
            source = next((name for name in node.input if name not in self.constant), "")
            maker = self.makers.get(source)
            if maker is None:
                return False
            if maker.op_type in _LINEAR:
                return self.uses[source] == 1 and any(name in self.constant for name in maker.input[:2])
            if maker.op_type not in _LAYOUT and not (
                maker.op_type in _ARITHMETIC and any(name in self.constant for name in maker.input)
            ):
                return False
            node = maker
