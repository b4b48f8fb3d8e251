"""Where a network leaves the range of half precision: layer by layer, in float32, on images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from graphopt.ir.session import OnnxSession
from graphopt.progress import Progress, silent
from graphopt.quantise.tensors import tensors_in_groups

LARGEST = float(np.finfo(np.float16).max)  # 65504
_NAMED = 3  # in a message
_SUMS = frozenset({"GlobalAveragePool", "ReduceMean"})
_SQUARES = frozenset({"ReduceL2"})
_NORMS = frozenset({"InstanceNormalization", "LayerNormalization"})  # sums of squares of what differs from the mean


@dataclass(frozen=True)
class Overflow:
    """The `largest` magnitude (by absolute value) that a node makes (`of` "output"), adds up on the way to a mean or a
    norm (`of` "sum"), or reads as a constant (`of` "constant"). `node` and `op` are empty for the image itself.
    """

    node: str
    op: str
    of: str
    largest: float

    def __str__(self) -> str:
        where = f"node {self.node} ({self.op})" if self.node else "the image"
        what = {"output": "reaches", "sum": "adds up to", "constant": "has a constant of"}[self.of]
        return f"{where} {what} {self.largest:.3g}"


@dataclass(frozen=True)
class Beyond:
    """The `first` nodes that make or read as a constant what half precision cannot hold: those that read no such
    result. Names of all `nodes` that touch such values. The first `sums` that are too large for a device which adds up
    in half precision: runtimes differ in that, and large images have many.
    """

    first: tuple[Overflow, ...]
    nodes: tuple[str, ...]
    sums: tuple[Overflow, ...]

    def why(self, with_sums: bool = False) -> str:
        """In words; empty where there is nothing to say."""
        found = (*self.first, *self.sums) if with_sums else self.first
        if not found:
            return ""
        more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return f"fp16 holds {LARGEST:.0f} at most, and {', '.join(map(str, found[:_NAMED]))}{more} (measured)"


def overflows(model: onnx.ModelProto, images: Sequence[NDArray[Any]], say: Progress = silent) -> Beyond:
    """Where the network leaves the range of half precision on images.

    `model`: a canonical one in float32. `images`: each of the shape of its input. Convolutions and products are taken
    to add up in more than half precision.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    largest = {name: _magnitude(values) for name, values in weights.items()}
    sums: dict[str, float] = {}
    groups = tensors_in_groups(model)
    for number, names in enumerate(groups):
        session = OnnxSession(model, names)
        for done, image in enumerate(images):
            say((number + done / len(images)) / len(groups), "looks for values beyond half precision")
            given = {session.inputs[0]: image.astype(np.float32)}
            made = [name for name in names if name not in given]
            found = dict(zip(made, session.run_named(given, made), strict=True))
            for name, values in (given | found).items():
                largest[name] = max(largest.get(name, 0.0), _magnitude(values))
                for node in model.graph.node:
                    if node.input and node.input[0] == name and (total := _summed(node, values, weights)) is not None:
                        sums[node.output[0]] = max(sums.get(node.output[0], 0.0), total)
    beyond = {name for name, value in largest.items() if value > LARGEST}
    touch = [node.name for node in model.graph.node if not beyond.isdisjoint((*node.input, *node.output))]
    sum_nodes = [node for node in model.graph.node if sums.get(node.output[0], 0.0) > LARGEST]
    return Beyond(
        tuple(_first(model, largest, beyond, weights)),
        tuple(touch),
        tuple(Overflow(n.name, n.op_type, "sum", sums[n.output[0]]) for n in sum_nodes if n.input[0] not in beyond),
    )


def _first(
    model: onnx.ModelProto, largest: dict[str, float], beyond: set[str], weights: Collection[str]
) -> Iterator[Overflow]:
    for value in model.graph.input:
        if value.name in beyond and value.name not in weights:
            yield Overflow("", "", "output", largest[value.name])
    for node in model.graph.node:
        if not beyond.isdisjoint(set(node.input).difference(weights)):
            continue
        constants = [largest[name] for name in node.input if name in beyond]
        if constants:
            yield Overflow(node.name, node.op_type, "constant", max(constants))
        elif node.output[0] in beyond:
            yield Overflow(node.name, node.op_type, "output", largest[node.output[0]])


def _magnitude(values: NDArray[Any]) -> float:
    """Of floats, infinite where one is not a number; what counts or indexes has none."""
    if values.dtype.kind != "f" or not values.size:
        return 0.0
    found = float(np.abs(values).max())
    return found if not np.isnan(found) else float("inf")


def _summed(node: onnx.NodeProto, values: NDArray[Any], weights: dict[str, NDArray[Any]]) -> float | None:
    """The largest sum that a mean or a norm divides or takes the root of; None for other nodes."""
    if node.op_type not in _SUMS | _SQUARES | _NORMS:
        return None
    axes = _axes(node, values.ndim, weights)
    wide = values.astype(np.float64)
    if node.op_type in _NORMS:
        wide = wide - wide.mean(axes, keepdims=True)
    if node.op_type not in _SUMS:
        wide = wide**2
    return _magnitude(wide.sum(axes))


def _axes(node: onnx.NodeProto, rank: int, weights: dict[str, NDArray[Any]]) -> tuple[int, ...]:
    said = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type in ("GlobalAveragePool", "InstanceNormalization"):
        return tuple(range(2, rank))
    if node.op_type == "LayerNormalization":
        return tuple(range(said.get("axis", -1) % rank, rank))
    given = said.get("axes") or (weights[node.input[1]].tolist() if len(node.input) > 1 and node.input[1] else ())
    return tuple(axis % rank for axis in given) or tuple(range(rank))
