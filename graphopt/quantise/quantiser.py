"""onnxruntime's own quantiser, called with ranges that were found before; and which tensors it makes wide."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx

from graphopt.ir.canonical import IR_VERSION
from graphopt.quantise.groups import touching
from graphopt.quantise.methods import Range
from graphopt.quantise.rules import Precision, Rules

Overrides = dict[str, list[dict[str, Any]]]
_WEIGHTS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}  # which input stays in 8 bits wherever it is
_NORMS = frozenset({"BatchNormalization", "InstanceNormalization", "LayerNormalization"})


def quantised(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    rules: Rules,
    precision: Precision,
    ops: Sequence[str],
    wide: frozenset[str] = frozenset(),
) -> onnx.ModelProto:
    """`model`: a prepared one, which is left as it is. `ops`: the kinds of nodes that compute in integers. `wide`:
    tensors that are held in 16 bits where the rules are QNN's, in float elsewhere; so do the nodes that touch them.

    Raises whatever the quantiser raises.
    """
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
    kept = [] if rules.for_qnn else [node.name for node in touching(copied, wide)]
    with quiet():
        options = _qnn_options(copied, activations, ops, _sixteen_bits(copied, wide)) if rules.for_qnn else {}
        quantiser = QDQQuantizer(
            copied, True, False, QuantType.QInt8, activations, TensorsData(CalibrationMethod.MinMax, found), [], kept,
            list(ops), options,
        )  # fmt: skip
        quantiser.quantize_model()
        quantiser.model.topological_sort()
    made: onnx.ModelProto = quantiser.model.model
    made.ir_version = IR_VERSION
    used = {node.domain for node in made.graph.node} | {""}
    entries = [entry for entry in made.opset_import if entry.domain in used]
    del made.opset_import[:], made.graph.value_info[:]
    made.opset_import.extend(entries)
    made = onnx.shape_inference.infer_shapes(made, data_prop=True)
    onnx.checker.check_model(made, full_check=True)
    return made


def _qnn_options(model: onnx.ModelProto, activations: Any, ops: Sequence[str], overrides: Overrides) -> dict[str, Any]:
    """What QNN's own rules add: types of products and norms, the fixed step of a sigmoid, a least range; and where
    numbers turn from 8 bits into 16 and back.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    config = get_qnn_qdq_config(
        model, None, activation_type=activations, weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=list(ops), init_overrides=overrides or None,
    )  # fmt: skip
    options: dict[str, Any] = config.extra_options
    return options


def _sixteen_bits(model: onnx.ModelProto, wide: frozenset[str]) -> Overrides:
    """The tensors, and the constants that nodes which touch them add, multiply or compare with: in `model`, each such
    node gets constants of its own, since others read the same ones in 8 bits.
    """
    from onnxruntime.quantization import QuantType

    sixteen = [{"quant_type": QuantType.QUInt16}]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    overrides: Overrides = dict.fromkeys(sorted(wide), sixteen)
    for number, node in enumerate(touching(model, wide)):
        for place, name in enumerate(node.input):
            is_float = name in constants and constants[name].data_type == onnx.TensorProto.FLOAT
            if not is_float or node.op_type in _NORMS or (node.op_type in _WEIGHTS and place > 0):
                continue
            own = onnx.TensorProto()
            own.CopyFrom(constants[name])
            own.name = node.input[place] = f"{name}_wide_{number}_{place}"
            model.graph.initializer.append(own)
            overrides[own.name] = sixteen
    return {name: [dict(entry) for entry in entries] for name, entries in overrides.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """The quantiser's advice is for those who call it; it goes to the root of all loggers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
