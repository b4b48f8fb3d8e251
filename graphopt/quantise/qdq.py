"""A network and the ranges of its tensors -> its QDQ graph, by onnxruntime's own quantiser."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from graphopt.errors import GraphoptError, last_line
from graphopt.ir.canonical import IR_VERSION
from graphopt.quantise.methods import Range
from graphopt.quantise.rules import Precision, Rules

_FOR_16_BITS = 21  # the first opset whose QuantizeLinear has them
_MOVES_NOTHING = frozenset({"Cast", "Constant", "Identity", "Shape"})  # no arithmetic that precision changes


@dataclass(frozen=True)
class Qdq:
    """The graph, and how many nodes of which ops compute in float: those that the rules leave out."""

    model: onnx.ModelProto
    in_float: dict[str, int]


def prepared(model: onnx.ModelProto, rules: Rules, precision: Precision) -> onnx.ModelProto:
    """A copy of a canonical model as the quantiser wants it, whose tensors are those that are to be calibrated."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    if rules.for_qnn:
        from onnxruntime.quantization.execution_providers.qnn import qnn_preprocess_model

        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder, _quiet():
            given, path = Path(folder) / "given.onnx", Path(folder) / "prepared.onnx"
            onnx.save(copied, given)  # as a file: of a model, it would move the weights to files of its own
            if qnn_preprocess_model(given, path):
                copied = onnx.load(path)
    if precision.bits > 8 and max(entry.version for entry in copied.opset_import) < _FOR_16_BITS:
        copied = onnx.version_converter.convert_version(copied, _FOR_16_BITS)
    return onnx.shape_inference.infer_shapes(copied, data_prop=True)


def to_qdq(model: onnx.ModelProto, ranges: Mapping[str, Range], rules: Rules, precision: Precision) -> Qdq:
    """`model`: a prepared one. Weights are signed, with a step for each output channel; activations are unsigned.

    Raises:
        GraphoptError: the quantiser refuses the network.
    """
    ops = {node.op_type for node in model.graph.node} - _MOVES_NOTHING
    asked = sorted(ops if rules.ops is None else ops & rules.ops)
    try:
        made = _quantised(model, ranges, rules, precision, asked)
    except Exception as error:  # the quantiser raises whatever comes
        raise GraphoptError(f"quantise: onnxruntime's quantiser refuses the network: {last_line(error)}") from error
    in_float = Counter(node.op_type for node in model.graph.node if node.op_type not in {*asked, *_MOVES_NOTHING})
    return Qdq(made, dict(in_float.most_common()))


def _quantised(
    model: onnx.ModelProto, ranges: Mapping[str, Range], rules: Rules, precision: Precision, ops: list[str]
) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    if not ops:  # the quantiser would take an empty list for all of them
        return copied
    activations = QuantType.QUInt8 if precision.bits == 8 else QuantType.QUInt16
    found = {
        name: TensorData(lowest=np.asarray(low, np.float32), highest=np.asarray(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    options = _qnn_options(copied, activations, ops) if rules.for_qnn else {}
    with _quiet():
        quantiser = QDQQuantizer(
            copied, True, False, QuantType.QInt8, activations, TensorsData(CalibrationMethod.MinMax, found), [], [],
            ops, options,
        )  # fmt: skip
        quantiser.quantize_model()
        quantiser.model.topological_sort()
    made: onnx.ModelProto = quantiser.model.model
    made.ir_version = IR_VERSION
    used = {node.domain for node in made.graph.node} | {""}
    kept = [entry for entry in made.opset_import if entry.domain in used]
    del made.opset_import[:], made.graph.value_info[:]
    made.opset_import.extend(kept)
    made = onnx.shape_inference.infer_shapes(made, data_prop=True)
    onnx.checker.check_model(made, full_check=True)
    return made


def _qnn_options(model: onnx.ModelProto, activations: Any, ops: list[str]) -> dict[str, Any]:
    """What QNN's own rules add: types of products and norms, the fixed step of a sigmoid, a least range."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    config = get_qnn_qdq_config(
        model, None, activation_type=activations, weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=ops,
    )  # fmt: skip
    options: dict[str, Any] = config.extra_options
    return options


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice is for those who call it; it goes to the root of all loggers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
