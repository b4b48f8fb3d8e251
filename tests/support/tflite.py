"""Small .tflite files without a converter, LiteRT's targets, and what is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.backends.litert.target import LiteRtTarget
from graphopt.backends.targets import load_target

ROOT = Path(__file__).parents[2]


def _lacks(*packages: str) -> bool:
    return any(importlib.util.find_spec(package) is None for package in packages)


needs_litert = pytest.mark.skipif(
    _lacks("ai_edge_litert", "litert_torch"), reason="litert-torch is not installed (make test-litert)"
)
needs_runtime = pytest.mark.skipif(
    _lacks("ai_edge_litert"), reason="ai-edge-litert is not installed (graphopt[litert])"
)

Node = tuple[str, Sequence[str], Sequence[str]]  # operator, inputs, outputs; `SPLIT:2` is its version 2


def litert_target(name: str = "host-litert", **fields: Any) -> LiteRtTarget:
    return LiteRtTarget(**{**load_target(name).model_dump(), **fields})


def tflite(nodes: Sequence[Node], tensors: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A model of the format's own objects. Tensors: a shape of floats, `(shape, type)`, or the values of a constant."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [], [schema.BufferT()]
    graph.tensors, graph.operators, places = [], [], {}
    for name, given in tensors.items():
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name.encode(), schema.TensorType.FLOAT32, 0
        if isinstance(given, np.ndarray):
            buffer = schema.BufferT()
            buffer.data = given.tobytes()
            model.buffers.append(buffer)
            tensor.shape, tensor.buffer = list(given.shape), len(model.buffers) - 1
            tensor.type = schema.TensorType.INT32 if given.dtype == np.int32 else schema.TensorType.FLOAT32
        elif given and isinstance(given[0], tuple):
            tensor.shape, tensor.type = list(given[0]), getattr(schema.TensorType, given[1])
        else:
            tensor.shape = list(given)
        places[name] = len(graph.tensors)
        graph.tensors.append(tensor)
    for kind, reads, writes in nodes:
        name, _, version = kind.partition(":")
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), int(version or 1)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs, operator.outputs = [places[one] for one in reads], [places[one] for one in writes]
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [places[one] for one in inputs], [places[one] for one in outputs]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.inputs, signature.outputs = b"serving_default", [], []
    for ends, said in ((graph.inputs, signature.inputs), (graph.outputs, signature.outputs)):
        for index in ends:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = f"args_{index}".encode(), index
            said.append(entry)
    model.signatureDefs = [signature]
    return model
