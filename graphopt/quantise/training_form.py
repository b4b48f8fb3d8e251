"""A QDQ graph whose integer weights are float again, each behind a pair that rounds it; and back into integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import numpy_helper

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph
from graphopt.ir.quantised import DEQUANTISE, PAIR, QUANTISE

Array = NDArray[Any]
_SUFFIX = "_quantized"  # of a weight's name, which onnxruntime's quantiser adds
# What the NPU wants of these never changes: their outputs lie between borders that are known
_GIVEN = frozenset({"Sigmoid", "Softmax", "Tanh"})
# They hand values on as they are: rounding those once more on the same grid changes nothing
_MOVES = frozenset(
    {"DepthToSpace", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
# Ops that have weights of their own; of others a single element is a number (an exponent, a factor, a bound)
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu"})


@dataclass(frozen=True)
class Master:
    """A weight in float: the name of its initialiser, of that of the integers and of their scale, and zero points."""

    name: str
    integers: str
    scale: str
    zero: Array
    axis: int
    product: tuple[str, str] | None  # of a bias: its scale is that of the input times that of the weights


@dataclass(frozen=True)
class QuantisedForm:
    """The graph to train, its float weights, and the initialisers of the scales that are learnt."""

    graph: gs.Graph
    masters: tuple[Master, ...]
    scales: tuple[str, ...]


def quantised_form(quantised: onnx.ModelProto, model: onnx.ModelProto) -> QuantisedForm:
    """`model`: the float network that `quantised` was made of, whose weights are taken exactly.

    Constants that are not weights (exponents, bounds) keep their value on the grid. Weights that the float network
    has under no such name start at what the integers say.

    Raises:
        GraphoptError: weights that are not those of `model`.
    """
    graph = to_graph(quantised)
    exact = {tensor.name: tensor for tensor in model.graph.initializer}
    products = _bias_scales(graph)
    masters = []
    for node in [node for node in graph.nodes if node.op == DEQUANTISE and isinstance(node.inputs[0], gs.Constant)]:
        integers, scale, axis = node.inputs[0], node.inputs[1], int(node.attrs.get("axis", 1))
        values = dequantised(integers.values, scale.values, _zero(node), axis)
        if _is_setting(node):
            settled = gs.Constant(f"{integers.name}/value_fixed", np.asarray(values))
            for reader in list(node.outputs[0].outputs):
                reader.inputs = [settled if tensor is node.outputs[0] else tensor for tensor in reader.inputs]
            node.outputs.clear()
            continue
        master = gs.Constant(f"{integers.name}/weights", _float_weights(node, values, exact))
        product = products.get(integers.name)
        masters.append(Master(master.name, integers.name, scale.name, _zero(node), axis, product))
        if product:
            made = gs.Variable(f"{integers.name}/scale", np.dtype(np.float32), scale.shape)
            graph.nodes.append(gs.Node("Mul", made.name, {}, [graph.tensors()[name] for name in product], [made]))
            node.inputs[1] = scale = made
        rounded = gs.Variable(f"{integers.name}/integers", integers.dtype, values.shape)
        operands = [master, scale, *node.inputs[2:]]
        graph.nodes.append(gs.Node(QUANTISE, rounded.name, dict(node.attrs), operands, [rounded]))
        node.inputs[0] = rounded
    _drop_repeated(graph)
    graph.cleanup().toposort()
    return QuantisedForm(graph, tuple(masters), _learnt(graph))


def with_trained(
    quantised: onnx.ModelProto, masters: tuple[Master, ...], values: Mapping[str, Array]
) -> onnx.ModelProto:
    """The same QDQ graph with other numbers. `values`: weights, scales and what else was trained, by their names."""
    made = onnx.ModelProto()
    made.CopyFrom(quantised)
    held = {tensor.name: tensor for tensor in made.graph.initializer}
    new = {name: value for name, value in values.items() if name in held}
    for master in masters:
        if master.product:
            parts = [new.get(name, numpy_helper.to_array(held[name])) for name in master.product]
            new[master.scale] = np.multiply(*parts, dtype=np.float32).reshape(tuple(held[master.scale].dims))
    for master in masters:
        scale = new.get(master.scale, numpy_helper.to_array(held[master.scale]))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(held[master.integers].data_type)
        new[master.integers] = integers_of(values[master.name], scale, master.zero.astype(dtype), master.axis)
    for name, value in new.items():
        kind, shape = held[name].data_type, tuple(held[name].dims)
        held[name].CopyFrom(
            numpy_helper.from_array(value.astype(onnx.helper.tensor_dtype_to_np_dtype(kind)).reshape(shape), name)
        )
    onnx.checker.check_model(made, full_check=True)
    return made


def dequantised(integers: Array, scale: Array, zero: Array, axis: int) -> Array:
    """(integers - zero) * scale, as DequantizeLinear computes it."""
    exact = integers.astype(np.int64) - _beside(zero, integers, axis).astype(np.int64)
    return np.asarray(exact.astype(np.float32) * _beside(scale, integers, axis))


def integers_of(values: Array, scale: Array, zero: Array, axis: int) -> Array:
    """Of `zero`'s type, as QuantizeLinear computes them; int32 ends where fp32 has no larger number."""
    ends = np.iinfo(zero.dtype)
    offset = _beside(zero, values, axis).astype(np.int64)
    rounded = np.rint(values.astype(np.float32) / _beside(scale, values, axis)).astype(np.float64) + offset
    far = 2**31 - 128
    return np.clip(rounded, max(ends.min, -far), min(ends.max, far)).astype(zero.dtype)


def _zero(node: gs.Node) -> Array:
    integers = node.inputs[0]
    given = len(node.inputs) > 2 and node.inputs[2].name
    return np.asarray(node.inputs[2].values if given else np.zeros((), integers.dtype))


def _beside(part: Array, values: Array, axis: int) -> Array:
    """A number for each channel, beside the axis of channels of `values`; or one for all."""
    if part.size == 1:
        return part.reshape(())
    shape = [1] * values.ndim
    shape[axis] = -1
    return part.reshape(shape)


def _is_setting(node: gs.Node) -> bool:
    """Whether a constant is a number that the network is made with."""
    name, readers = node.inputs[0].name.removesuffix(_SUFFIX), {reader.op for reader in node.outputs[0].outputs}
    return name.endswith("_fixed") or "Pow" in readers or (node.inputs[0].values.size == 1 and not readers & _WEIGHTED)


def _float_weights(node: gs.Node, values: Array, exact: Mapping[str, onnx.TensorProto]) -> Array:
    """Those that the integers `values` were rounded from, where the float network has them."""
    found = exact.get(node.inputs[0].name.removesuffix(_SUFFIX))
    if found is None:
        return values
    weights = numpy_helper.to_array(found)
    step = _beside(node.inputs[1].values, values, int(node.attrs.get("axis", 1)))
    if weights.shape != values.shape or not np.all(np.abs(weights - values) <= 1.01 * step + 1e-6 * np.abs(weights)):
        raise GraphoptError(
            f"finetune: the weights '{found.name}' are not those that the quantised network was made of; quantise the "
            "network that is to be trained"
        )
    return np.array(weights, np.float32)


def _bias_scales(graph: gs.Graph) -> dict[str, tuple[str, str]]:
    """The scales of input and weights of each bias in int32, by the name of its integers."""
    found = {}
    for node in graph.nodes:
        if node.op not in _WEIGHTED or len(node.inputs) < 3 or not all(tensor.inputs for tensor in node.inputs[:3]):
            continue
        x, weights, bias = (tensor.inputs[0] for tensor in node.inputs[:3])
        if {x.op, weights.op, bias.op} == {DEQUANTISE} and bias.inputs[0].dtype == np.int32:
            found[bias.inputs[0].name] = (x.inputs[1].name, weights.inputs[1].name)
    return found


def _drop_repeated(graph: gs.Graph) -> None:
    """Takes out pairs on the grid that their input is on already."""
    grids: dict[str, tuple[str, ...]] = {}
    for node in graph.toposort().nodes:
        operands = tuple(tensor.name for tensor in node.inputs[1:])
        if node.op == DEQUANTISE and node.inputs[0].inputs and node.inputs[0].inputs[0].op == QUANTISE:
            pair = node.inputs[0].inputs[0]
            source, outputs = pair.inputs[0], {tensor.name for tensor in graph.outputs}
            if grids.get(source.name) == operands and node.outputs[0].name not in outputs:
                for reader in list(node.outputs[0].outputs):
                    reader.inputs = [source if tensor is node.outputs[0] else tensor for tensor in reader.inputs]
            grids[node.outputs[0].name] = operands
        elif node.op in _MOVES and node.inputs[0].name in grids:
            grids |= {tensor.name: grids[node.inputs[0].name] for tensor in node.outputs}


def _learnt(graph: gs.Graph) -> tuple[str, ...]:
    """The scales that no rule gives. A scale of a bias is a product, hence no initialiser."""
    pairs = [node for node in graph.nodes if node.op in PAIR]
    scales = dict.fromkeys(node.inputs[1].name for node in pairs if isinstance(node.inputs[1], gs.Constant))
    given = {
        node.inputs[1].name
        for node in pairs
        if node.op == QUANTISE and node.inputs[0].inputs and node.inputs[0].inputs[0].op in _GIVEN
    }
    return tuple(name for name in scales if name not in given)
