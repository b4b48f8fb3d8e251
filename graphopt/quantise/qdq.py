"""A network and the ranges of its tensors -> its QDQ graph, in the form that a kind of device wants."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from graphopt.errors import GraphoptError, last_line
from graphopt.quantise.methods import Range
from graphopt.quantise.quantiser import quantised, quiet
from graphopt.quantise.rules import Precision, Rules

_FOR_16_BITS = 21  # the first opset whose QuantizeLinear has them
_MOVES_NOTHING = frozenset({"Cast", "Constant", "Identity", "Shape"})  # no arithmetic that precision changes


@dataclass(frozen=True)
class Qdq:
    """The graph; how many nodes of which ops compute in float, since the rules leave them out or the quantiser refuses
    them; and why it refuses those (`refused`, by op).
    """

    model: onnx.ModelProto
    in_float: dict[str, int]
    refused: dict[str, str] = field(default_factory=dict)


def prepared(model: onnx.ModelProto, rules: Rules, precision: Precision) -> onnx.ModelProto:
    """A copy of a canonical model as the quantiser wants it, whose tensors are those that are to be calibrated."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.metadata_props[:]  # onnxruntime's preprocessing for QNN stumbles over them
    if rules.for_qnn:
        from onnxruntime.quantization.execution_providers.qnn import qnn_preprocess_model

        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder, quiet():
            given, path = Path(folder) / "given.onnx", Path(folder) / "prepared.onnx"
            onnx.save(copied, given)  # as a file: of a model, it would move the weights to files of its own
            if qnn_preprocess_model(given, path):
                copied = onnx.load(path)
    if precision.bits > 8:
        copied = _of_16_bits(copied)
    _name_nodes(copied)
    return onnx.shape_inference.infer_shapes(copied, data_prop=True)


def _of_16_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    if max(entry.version for entry in model.opset_import) >= _FOR_16_BITS:
        return model
    return onnx.version_converter.convert_version(model, _FOR_16_BITS)


def _name_nodes(model: onnx.ModelProto) -> None:
    """The quantiser tells nodes apart by name."""
    taken = Counter(node.name for node in model.graph.node)
    for node in model.graph.node:
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.op_type.lower()}_of_{node.output[0]}"


def to_qdq(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    rules: Rules,
    precision: Precision,
    wide: frozenset[str] = frozenset(),
    kept: frozenset[str] = frozenset(),
) -> Qdq:
    """`model`: a prepared one. Weights are signed, with a step for each output channel; activations are unsigned.

    `wide`: names of tensors that are held in 16 bits for QNN, in float for others. `kept`: names of nodes that compute
    in float; so do ops that the quantiser refuses.

    Raises:
        GraphoptError: the quantiser refuses the network, and no op of it is to blame.
    """
    ops = {node.op_type for node in model.graph.node} - _MOVES_NOTHING
    asked = sorted(ops if rules.ops is None else ops & rules.ops)
    refused: dict[str, str] = {}
    if wide and rules.for_qnn:
        model = _of_16_bits(model)
    try:
        made = quantised(model, ranges, rules, precision, asked, wide, kept)
    except Exception as error:  # the quantiser raises whatever comes
        refused = _refused(model, ranges, rules, precision, asked)
        asked = [op for op in asked if op not in refused]
        try:
            if not refused or not asked:
                raise error
            made = quantised(model, ranges, rules, precision, asked, wide, kept)
        except Exception as last:
            raise GraphoptError(f"quantise: onnxruntime's quantiser refuses the network: {last_line(last)}") from last
    left = {*asked, *_MOVES_NOTHING}
    in_float = Counter(n.op_type for n in model.graph.node if n.op_type not in left or n.name in kept)
    return Qdq(made, dict(in_float.most_common()), refused)


def _refused(
    model: onnx.ModelProto, ranges: Mapping[str, Range], rules: Rules, precision: Precision, ops: list[str]
) -> dict[str, str]:
    """The ops that the quantiser does not even take alone, and what it says of them."""
    found = {}
    for op in ops:
        try:
            quantised(model, ranges, rules, precision, [op])
        except Exception as error:  # whatever comes
            found[op] = last_line(error)
    return found
