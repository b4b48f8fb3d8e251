"""The memory that MNN takes for a network on a CPU, foretold."""

from __future__ import annotations

from math import prod

import onnx

from graphopt.cost.counts import static_shapes
from graphopt.cost.memory import image_bytes, weight_bytes

_LANES = 16  # channels are filled up to multiples of what one instruction computes: 16 with AVX-512, fewer elsewhere


def planned_bytes(model: onnx.ModelProto, bytes_per_element: int) -> int:
    """Bytes at the peak: the image, the weights twice (as the file has them, and as the kernels want them), and the
    activations that are still to be read, each freed after its last reader.
    """
    activations = _live_elements(model) * bytes_per_element
    return 2 * weight_bytes(model, bytes_per_element) + image_bytes(model, bytes_per_element) + activations


def _live_elements(model: onnx.ModelProto) -> int:
    sizes = {name: _filled(shape) for name, shape in static_shapes(model).items()}
    weights = {tensor.name for tensor in model.graph.initializer}
    last = {name: step for step, node in enumerate(model.graph.node) for name in node.input}
    last |= {value.name: len(model.graph.node) for value in model.graph.output}
    live = {value.name for value in model.graph.input if value.name not in weights}
    peak = 0
    for step, node in enumerate(model.graph.node):
        live |= {name for name in node.output if name in last}
        peak = max(peak, sum(sizes[name] for name in live))
        live -= {name for name in live if last.get(name) == step}
    return peak


def _filled(shape: tuple[int, ...]) -> int:
    """Elements of a tensor as MNN lays out images."""
    return prod(shape) if len(shape) < 4 else prod((shape[0], shape[1] + -shape[1] % _LANES, *shape[2:]))
