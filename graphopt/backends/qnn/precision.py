"""The precision that a network will have on the NPU: a QDQ graph says of itself how it is quantised."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import onnx
from onnx import TensorProto

from graphopt.cost.counts import macs_of, static_shapes

Precision = Literal["float16", "w8a8", "w8a16"]
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_EIGHT = (TensorProto.UINT8, TensorProto.INT8)
_SIXTEEN = (TensorProto.UINT16, TensorProto.INT16)


def precision_of(model: onnx.ModelProto) -> Precision:
    """The precision in which most of the MACs are done: that of the activations which convolutions and matrix products
    read. `float16` where these are not dequantised, in graphs without QDQ too. Where there are no MACs, as in a part of
    a network: that of the most images.

    Raises:
        GraphoptError: a QDQ graph with a shape that is not static.
    """
    dequantised = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    if not dequantised:
        return "float16"
    shapes = static_shapes(model)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    macs: Counter[Precision] = Counter()
    images: Counter[Precision] = Counter(_precision(n, kinds) for n in dequantised.values() if n.input[0] not in kinds)
    for node in model.graph.node:
        if done := macs_of(node, shapes):
            source = dequantised.get(node.input[0])
            macs[_precision(source, kinds)] += done
    counted = macs or images
    return counted.most_common(1)[0][0] if counted else "float16"


def _precision(source: onnx.NodeProto | None, kinds: dict[str, int]) -> Precision:
    zero_point = source.input[2] if source is not None and len(source.input) > 2 else ""
    kind = kinds.get(zero_point)
    return "w8a8" if kind in _EIGHT else "w8a16" if kind in _SIXTEEN else "float16"


def without_conversions(refused: tuple[str, ...]) -> tuple[str, ...]:
    """`refused` ops without those at the ends of a QDQ graph, which turn float32 into integers and back: the compiler
    leaves them to whoever feeds the network.
    """
    return tuple(name for name in refused if not name.startswith(_CONVERSIONS))
