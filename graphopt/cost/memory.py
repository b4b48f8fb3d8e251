"""Peak memory of a network: its weights, its image, and what the planner of the runtime sets aside for activations.

onnxruntime's plan: nodes run in order; a buffer that is no longer read waits for the next tensor of the same shape, and
is given back only after the last tensor that it holds (read off its behaviour: see `benchmarks/costs/memory.py`). It is
taken for every target but phone GPUs; there TVM is asked for its own plan (`lowering.planned_bytes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import onnx

from graphopt.cost.counts import static_shapes

PLAN = 2  # raised whenever another figure comes out for the same network: cached prices hold it
_VIEWS = frozenset({"Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"})  # of their first input's buffer
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def peak_memory(model: onnx.ModelProto, bytes_per_element: int, planned: Callable[[], int] | None = None) -> int:
    """Bytes at the peak. `planned` gives those of activations, results included; without it, onnxruntime plans."""
    activations = activation_bytes(model, bytes_per_element) if planned is None else planned()
    return weight_bytes(model, bytes_per_element) + image_bytes(model, bytes_per_element) + activations


def weight_bytes(model: onnx.ModelProto, bytes_per_element: int) -> int:
    """The bytes of all weights."""
    held = sum(prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type in _FLOATS)
    return held * bytes_per_element


def image_bytes(model: onnx.ModelProto, bytes_per_element: int) -> int:
    """The bytes of the inputs, which the caller holds while the network runs."""
    shapes = static_shapes(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    return sum(prod(shapes[v.name]) for v in model.graph.input if v.name not in weights) * bytes_per_element


@dataclass(eq=False)
class Buffer:
    """A piece of memory, from the node that first writes it to the last that reads it."""

    shape: tuple[int, ...]
    first: int
    last: int
    readers: int = 0


def activation_bytes(
    model: onnx.ModelProto, bytes_per_element: int, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> int:
    """The most bytes of activations, outputs included, that onnxruntime holds at once (nothing in place).

    `shapes`: of all tensors, where ONNX does not know all operators.
    """
    made = buffers(model, static_shapes(model) if shapes is None else shapes)
    change = [0] * (len(model.graph.node) + 2)
    for buffer in made:
        change[buffer.first] += prod(buffer.shape)
        change[buffer.last + 1] -= prod(buffer.shape)
    alive = peak = 0
    for difference in change:
        alive += difference
        peak = max(peak, alive)
    return peak * bytes_per_element


def buffers(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> list[Buffer]:
    """The pieces of memory that onnxruntime plans for activations, outputs included. `shapes`: of all tensors; those of
    one shape may share a piece.
    """
    nodes = model.graph.node
    outputs = {value.name for value in model.graph.output}
    readers: dict[str, int] = dict.fromkeys(outputs, 1)
    for node in nodes:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    held: dict[str, Buffer] = {}
    made: list[Buffer] = []
    free: list[Buffer] = []
    for step, node in enumerate(nodes):
        for name in filter(None, node.output):
            if node.op_type in _VIEWS and node.input[0] in held:
                buffer = held[node.input[0]]
            else:
                buffer = _buffer(shapes[name], step, free if name not in outputs else [])
                made += [buffer] if buffer.first == step else []
            buffer.readers += readers.get(name, 0)
            held[name] = buffer
        for name in node.input:
            if name in held:
                held[name].readers -= 1
        for name in (*node.input, *node.output):
            if name in held:
                buffer = held[name]
                buffer.last = step
                if buffer.readers == 0 and buffer not in free:
                    free.append(buffer)
    for name in outputs & set(held):
        held[name].last = len(nodes)
    return made


def _buffer(shape: tuple[int, ...], step: int, free: list[Buffer]) -> Buffer:
    """The buffer of that shape that was freed last, or a new one."""
    for buffer in reversed(free):
        if buffer.shape == shape:
            free.remove(buffer)
            return buffer
    return Buffer(shape, step, step)
