"""Keys of prices: what decides a price is in the key, names and weights are not."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from graphopt.backends.qnn.compiler import compiler_version
from graphopt.backends.qnn.regression import FORMULA as NPU_FORMULA
from graphopt.cost.memory import PLAN
from graphopt.cost.target import Target
from graphopt.kernels.model import FORMULA

_WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def graph_key(model: onnx.ModelProto) -> str:
    """A hash of operators, attributes, wiring, shapes and dtypes, and of integer and scalar constants.

    Blind to names and to the values of weights. Tensors are numbered in the order in which nodes use them.
    """
    graph = model.graph
    numbers: dict[str, int] = {"": 0}
    parts: list[Any] = [[(opset.domain, opset.version) for opset in model.opset_import]]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in constants:
            parts.append((_number(value.name, numbers), _type(value)))
    for node in graph.node:
        inputs = []
        for name in node.input:
            new = name not in numbers
            inputs.append(_number(name, numbers))
            if new and name in constants:
                parts.append((numbers[name], _constant(constants[name])))
        attributes = [_attribute(attribute) for attribute in sorted(node.attribute, key=lambda a: a.name)]
        outputs = [_number(name, numbers) for name in node.output]
        parts.append((node.domain, node.op_type, inputs, attributes, outputs))
    parts.append([_number(value.name, numbers) for value in graph.output])
    return _hash(parts)


def price_key(model: onnx.ModelProto, target: Target, trials: int) -> str:
    """`graph_key`, the facts of the target (not their sources), TVM's version, both formulas and the trials."""
    return _hash([graph_key(model), target_key(target), trials, PLAN])


def compile_key(model: onnx.ModelProto, target: Target) -> str:
    """`graph_key`, and what decides how the NPU's compiler compiles it."""
    chip = target.npu_compiler.model_dump(exclude={"time_limit_s"}) if target.npu_compiler else {}
    return _hash([graph_key(model), chip, compiler_version(target)])


def target_key(target: Target) -> str:
    """A hash of the figures of a target, of TVM's version and of the kernel model's (of an NPU: its compiler's version
    and its regression's); of this processor, where it is what is measured.
    """
    figures = target.model_dump(mode="json", exclude={"name", "title"})
    if target.kind == "qnn":
        return _hash([_without_sources(figures), compiler_version(target), NPU_FORMULA])
    processor = _processor() if target.kind == "llvm" else ""
    return _hash([_without_sources(figures), metadata.version("apache-tvm"), FORMULA, processor])


def figures_key(target: Target, local: bool) -> str:
    """A hash of what decides which schedules a target can run, and of this processor where it runs them."""
    limits = [target.facts[name].value for name in ("max_threads", "local_memory", "wave_size") if name in target.facts]
    processor = _processor() if local else ""
    return _hash([target.kind, target.device, target.dtype, limits, metadata.version("apache-tvm"), processor])


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line for line in lines if line.startswith("model name")]
    return models[0] if models else f"{platform.machine()} {platform.processor()}"


def _without_sources(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_sources(value) for key, value in content.items() if key not in ("source", "unit")}
    return content


def _number(name: str, numbers: dict[str, int]) -> int:
    return numbers.setdefault(name, len(numbers))


def _type(value: onnx.ValueInfoProto) -> tuple[int, list[int]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, [dim.dim_value for dim in tensor.shape.dim]


def _constant(tensor: onnx.TensorProto) -> list[Any]:
    values = numpy_helper.to_array(tensor).tolist() if tensor.data_type not in _WEIGHTS or not tensor.dims else None
    return [tensor.data_type, list(tensor.dims), values]


def _attribute(attribute: onnx.AttributeProto) -> list[Any]:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return [attribute.name, _constant(attribute.t)]
    stripped = onnx.AttributeProto()
    stripped.CopyFrom(attribute)
    stripped.ClearField("doc_string")
    return [stripped.SerializeToString(deterministic=True).hex()]


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
