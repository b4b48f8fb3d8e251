"""Which heights and widths a network runs at: its stride, the same network at another size, or at any.

A canonical graph has static shapes, and some of what an exporter wrote may hold only there. Nothing is believed of a
graph that is not seen when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import gcd, prod

import numpy as np
import onnx
from onnx import numpy_helper

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import fix_shapes, input_shape
from graphopt.ir.session import OnnxSession

Size = tuple[int, int]
FREE = ("height", "width")  # what the free dimensions are called in the file
_TRIED = 64  # pixels: sizes that are tried are no smaller, so that no kernel is larger than its image
_POOLS = ("AveragePool", "MaxPool", "LpPool")


def stride_of(model: onnx.ModelProto) -> int | None:
    """The least number whose multiples are heights and widths that the network runs at, as those that downsample by 2
    four times run at multiples of 16; None where it runs at its own size alone.

    The network has one image (N, C, H, W) and gives one of the same height and width.
    """
    if _bound_to_size(model):
        return None
    session, shape = OnnxSession(_with_free_sizes(model), optimise=False), input_shape(model)
    shared = gcd(shape[2], shape[3])
    for stride in (number for number in range(1, shared + 1) if shared % number == 0):
        first, second = (prime * stride for prime in islice(_primes(max(5, _TRIED // stride)), 2))
        if not any(_failure(session, shape, size) for size in ((first, second), (second, first))):
            return stride
    return None


def at_size(model: onnx.ModelProto, size: Size) -> onnx.ModelProto:
    """The network at another height and width.

    Raises:
        GraphoptError: it does not run there, or gives another size than it takes.
    """
    shape = input_shape(model)
    if size == shape[2:]:
        return model
    why = _bound_to_size(model)
    made = _copy(model)
    fix_shapes(made, size, "the network")
    why = why or _opened(made, shape, size)
    if why:
        raise GraphoptError(f"the network does not run at {size[0]}x{size[1]} (height x width): {why}")
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def at_any_size(model: onnx.ModelProto, stride: int) -> onnx.ModelProto:
    """The network with a free height and width, each a multiple of `stride`; seen to run at two more sizes.

    Raises:
        GraphoptError: something in the graph holds for its own size alone.
    """
    made, shape = _with_free_sizes(model), input_shape(model)
    why = _bound_to_size(model)
    if not why:
        session = OnnxSession(made)
        failures = (_failure(session, shape, size) for size in other_sizes(shape[2:], stride))
        why = next((failure for failure in failures if failure), "")
    if why:
        raise GraphoptError(f"the network runs at {shape[2]}x{shape[3]} alone: {why}")
    return made


def other_sizes(size: tuple[int, ...], stride: int) -> tuple[Size, Size]:
    """Two sizes near to `size`, larger and smaller, that `stride` divides."""
    height, width = size
    return (height + stride, width + 2 * stride), (max(height - stride, stride), width + stride)


def _with_free_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    made = _copy(model)
    weights = {tensor.name for tensor in made.graph.initializer}
    for value in (*made.graph.input, *made.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in weights and len(dims) == 4:
            for dim, name in zip(dims[2:], FREE, strict=True):
                dim.dim_param = name
    del made.graph.value_info[:]
    return made


def _opened(model: onnx.ModelProto, shape: tuple[int, ...], size: Size) -> str:
    try:
        session = OnnxSession(model)
    except GraphoptError as error:
        return str(error)
    return _failure(session, shape, size)


def _failure(session: OnnxSession, shape: tuple[int, ...], size: Size) -> str:
    """Why the network does not run at a size; empty where it does."""
    image = np.random.default_rng(0).random((*shape[:2], *size), dtype=np.float32)
    try:
        found = session.run(image).shape
    except GraphoptError as error:
        return str(error)
    return "" if found[2:] == size else f"it makes {'x'.join(map(str, found[2:]))} of {size[0]}x{size[1]}"


def _bound_to_size(model: onnx.ModelProto) -> str:
    """What would run at another size, and compute something else there."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    sums: dict[str, int] = {}  # of whole images, and of how many pixels
    for node in model.graph.node:
        extent = shapes.get(node.input[0], [])[2:] if node.input else []
        kernel = next((list(a.ints) for a in node.attribute if a.name == "kernel_shape"), [])
        if node.op_type in _POOLS and len(extent) == 2 and min(extent) > 1 and kernel == extent:
            return f"{node.op_type} ({node.name}) pools {extent[0]}x{extent[1]}, the whole image; write it as a mean"
        if node.op_type == "ReduceSum" and len(extent) == 2 and shapes.get(node.output[0], [])[2:] in ([1, 1], []):
            sums[node.output[0]] = prod(extent)
        if node.op_type in ("Mul", "Div") and (summed := next((name for name in node.input if name in sums), None)):
            other = next((constants[name] for name in node.input if name in constants), None)
            pixels = sums[summed]
            if other is not None and _is_about(other, (pixels, 1 / pixels)):
                return f"{node.op_type} ({node.name}) makes a mean of a sum over {pixels} pixels; write it as a mean"
    return ""


def _is_about(tensor: onnx.TensorProto, values: tuple[float, ...]) -> bool:
    held = numpy_helper.to_array(tensor)
    return held.size == 1 and any(np.isclose(float(held.reshape(())), value, rtol=1e-3, atol=0) for value in values)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _primes(least: int) -> Iterator[int]:
    number = least
    while True:
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            yield number
        number += 1
