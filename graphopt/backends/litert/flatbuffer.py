"""Reads and writes .tflite files: what operators they hold, names that say something, no needless transposes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

_WIDTHS = {"INT8": 1, "UINT8": 1, "BOOL": 1, "INT16": 2, "FLOAT16": 2, "INT64": 8}  # bytes of an element; 4 of others
_ALIGNMENT = 16  # of the data of tensors, as the format's schema asks; the generated packer aligns to single bytes


@dataclass(frozen=True)
class Operator:
    """One operator of a file: its name and version, and its tensors as (name, shape), without omitted ones."""

    name: str
    version: int
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    types: tuple[str, ...]  # of the tensors that are computed, inputs and outputs


def read(content: bytes) -> Any:
    """The model of a .tflite as the schema's own objects."""
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    return read_model_from_bytearray(content)


def write(model: Any) -> bytes:
    """The content of a .tflite."""
    import flatbuffers

    for buffer in model.buffers:
        buffer.Pack = _aligned(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operators(model: Any) -> Iterator[Operator]:
    """The operators of all subgraphs, in the order in which they run."""
    from ai_edge_litert import schema_py_generated as schema

    names, types = _names(schema.BuiltinOperator), _names(schema.TensorType)
    for graph in model.subgraphs:
        for node in graph.operators:
            code = model.operatorCodes[node.opcodeIndex]
            kind = _kind(code)
            name = code.customCode.decode() if code.customCode else names[kind]
            inputs, outputs = ([graph.tensors[i] for i in ends if i >= 0] for ends in (node.inputs, node.outputs))
            computed = [t for t in (*inputs, *outputs) if not _has_data(model, t)]
            yield Operator(
                name, code.version, tuple(map(_named, inputs)), tuple(map(_named, outputs)),
                tuple(types[tensor.type] for tensor in computed),
            )  # fmt: skip


def tensor_bytes(model: Any) -> dict[str, int]:
    """How many bytes each tensor of the first subgraph takes."""
    from ai_edge_litert import schema_py_generated as schema

    types = _names(schema.TensorType)
    made = {}
    for tensor in model.subgraphs[0].tensors:
        name, shape = _named(tensor)
        made[name] = prod(shape) * _WIDTHS.get(types[tensor.type], 4)
    return made


def without_needless_transposes(model: Any) -> int:
    """Readers of a transpose that undoes another one read what the first one reads; returns how many ops went.

    The converter leaves such pairs where a tensor is read in both layouts.
    """
    from ai_edge_litert import schema_py_generated as schema

    before = sum(len(graph.operators) for graph in model.subgraphs)
    for graph in model.subgraphs:
        orders: dict[int, tuple[int, tuple[int, ...]]] = {}  # output -> (input, order)
        same: dict[int, int] = {}
        for node in graph.operators:
            node.inputs = [same.get(int(i), int(i)) for i in node.inputs]
            if _kind(model.operatorCodes[node.opcodeIndex]) != schema.BuiltinOperator.TRANSPOSE:
                continue
            source, target = int(node.inputs[0]), int(node.outputs[0])
            order = _constant(model, graph.tensors[node.inputs[1]])
            if order is None:
                continue
            orders[target] = (source, order)
            first = orders.get(source)
            if first is not None and tuple(first[1][axis] for axis in order) == tuple(range(len(order))):
                same[target] = first[0]
        _drop_unread(graph)
    return before - sum(len(graph.operators) for graph in model.subgraphs)


def with_float_ends(model: Any) -> None:
    """Inputs and outputs of integers become floats: what is read is quantised first, what is made goes back last."""
    from ai_edge_litert import schema_py_generated as schema

    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for ends, said, operator in (
        (graph.inputs, signature.inputs, schema.BuiltinOperator.QUANTIZE),
        (graph.outputs, signature.outputs, schema.BuiltinOperator.DEQUANTIZE),
    ):
        forth = ends is graph.inputs
        for place, index in enumerate(ends):
            inner = graph.tensors[index]
            if inner.type == schema.TensorType.FLOAT32:
                continue
            end = schema.TensorT()
            end.name, end.shape, end.type, end.buffer = inner.name, inner.shape, schema.TensorType.FLOAT32, 0
            inner.name = inner.name + b"_integers"
            graph.tensors.append(end)
            number = len(graph.tensors) - 1
            ends[place] = number
            for entry in said:
                if entry.tensorIndex == index:
                    entry.tensorIndex = number
            node = _operator(model, operator, [number] if forth else [index], [index] if forth else [number])
            graph.operators = [node, *graph.operators] if forth else [*graph.operators, node]


def rename(model: Any, name_of: Callable[[str], str | None], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Gives tensors the names that `name_of` makes of theirs (None: it stays), numbered where they repeat, and those of
    the caller to inputs and outputs, in their order. For a model of one subgraph and one signature.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    taken = Counter((*inputs, *outputs))
    for tensor in graph.tensors:
        name = name_of(tensor.name.decode()) or tensor.name.decode()
        taken[name] += 1
        tensor.name = (name if taken[name] == 1 else f"{name};{taken[name]}").encode()
    for names, ends, said in ((inputs, graph.inputs, signature.inputs), (outputs, graph.outputs, signature.outputs)):
        for name, index in zip(names, ends, strict=True):
            graph.tensors[index].name = name.encode()
        for entry in said:
            entry.name = graph.tensors[entry.tensorIndex].name


def _operator(model: Any, kind: int, reads: list[int], writes: list[int]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    codes = [_kind(code) for code in model.operatorCodes]
    if kind not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 2
        model.operatorCodes.append(code)
    node = schema.OperatorT()
    node.opcodeIndex = codes.index(kind) if kind in codes else len(codes)
    node.inputs, node.outputs = np.array(reads, np.int32), np.array(writes, np.int32)
    return node


def _drop_unread(graph: Any) -> None:
    readers = Counter(int(i) for node in graph.operators for i in node.inputs)
    readers.update(int(i) for i in graph.outputs)
    kept = []
    for node in reversed(graph.operators):
        if any(readers[int(i)] for i in node.outputs):
            kept.append(node)
        else:
            readers.subtract(int(i) for i in node.inputs)
    graph.operators = kept[::-1]


def _constant(model: Any, tensor: Any) -> tuple[int, ...] | None:
    if not _has_data(model, tensor):
        return None
    return tuple(np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int32).tolist())


def _has_data(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _kind(code: Any) -> int:
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))  # the second one is of old files


def _named(tensor: Any) -> tuple[str, tuple[int, ...]]:
    return tensor.name.decode(), tuple(int(size) for size in ([] if tensor.shape is None else tensor.shape))


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _aligned(buffer: Any) -> Any:
    def pack(builder: Any) -> Any:
        from ai_edge_litert import schema_py_generated as schema

        data = None if buffer.data is None else bytes(buffer.data)
        if data is not None:
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head = builder.Head() - len(data)
            builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)

    return pack
