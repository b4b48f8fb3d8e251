"""Graphs in ONNX files. Large weights pass by protobuf, which would copy each of them several times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx.external_data_helper import load_external_data_for_model

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import LARGEST_SHAPE_VALUE, declared_model, has_subgraphs, is_plain, to_graph
from graphopt.ir.constants import little_endian, values_of

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # numbers of ModelProto.graph, GraphProto.initializer, TensorProto.raw_data
BYTES = 2  # protobuf's wire type of messages and of bytes: a length, and as many bytes
SIZES = {1: 8, 5: 4}  # of the wire types fixed64 and fixed32
LARGEST_FILE = 2**31 - 1  # bytes; protobuf reads no more
Buffer = NDArray[np.uint8]


def load_graph(path: Path) -> gs.Graph:
    """The graph of a file that is in canonical form: `to_graph(onnx.load(path))` in a third of the time.

    Weights are arrays that share one block of memory. GraphoptError where the file is not ONNX.
    """
    try:
        light, weights = _without_weights(np.fromfile(path, np.uint8))
        model = onnx.ModelProto.FromString(light)
        if not model.opset_import:
            raise ValueError("it names no opset")
        load_external_data_for_model(model, str(path.parent))
        graph = to_graph(model)
        if has_subgraphs(graph):  # what these read is not among the graph's tensors
            return to_graph(onnx.load(path))
        tensors = graph.tensors()
        for declared in model.graph.initializer:
            if declared.name in weights and declared.name in tensors:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.data_type).newbyteorder("<")
                tensors[declared.name].values = weights[declared.name].view(dtype).reshape(declared.dims)
    except FileNotFoundError as error:
        raise GraphoptError(f"ONNX file {path} does not exist") from error
    except (DecodeError, LookupError, ValueError, OSError) as error:
        raise GraphoptError(f"{path} is not a valid ONNX file: {error}") from error
    return graph


def save_graph(graph: gs.Graph, path: Path) -> None:
    """Writes `to_model(graph)`. GraphoptError where it is larger than an ONNX file can be."""
    model, constants = declared_model(graph)
    parts = list(_written(model, {name: values_of(constant) for name, constant in constants.items()}))
    size = sum(memoryview(part).nbytes for part in parts)
    if size > LARGEST_FILE:
        raise GraphoptError(f"{path} would hold {size} bytes; an ONNX file holds {LARGEST_FILE} at most")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(parts)


def _written(model: onnx.ModelProto, weights: dict[str, NDArray[Any]]) -> Iterator[Any]:
    """The file of `model`, whose initialisers lack their `weights`, as parts that follow each other."""
    initialisers: list[Any] = []
    for tensor in model.graph.initializer:
        declared, values = tensor.SerializeToString(), weights.get(tensor.name)
        if values is not None:
            values = little_endian(values)
            declared += _opening(RAW_DATA, values.nbytes)
        size = len(declared) + (0 if values is None else values.nbytes)
        initialisers += [_opening(INITIALIZER, size) + declared, *([] if values is None else [values])]
    model.graph.ClearField("initializer")
    rest = model.graph.SerializeToString()
    model.ClearField("graph")
    yield model.SerializeToString()
    yield _opening(GRAPH, len(rest) + sum(memoryview(part).nbytes for part in initialisers)) + rest
    yield from initialisers


def _without_weights(content: Buffer) -> tuple[bytes, dict[str, Buffer]]:
    """A model's file without the raw data of large initialisers, and that data by their names."""
    weights: dict[str, Buffer] = {}
    model, graph = bytearray(), bytearray()
    view = content.data
    for number, begin, start, end in _fields(view, 0, len(view)):
        if number != GRAPH:
            model += view[begin:end]
            continue
        for inner, inner_begin, inner_start, inner_end in _fields(view, start, end):
            if inner != INITIALIZER or inner_end - inner_start <= LARGEST_SHAPE_VALUE:
                graph += view[inner_begin:inner_end]
                continue
            declared, raw = bytearray(), None
            for field, field_begin, field_start, field_end in _fields(view, inner_start, inner_end):
                if field == RAW_DATA:
                    raw = content[field_start:field_end]
                else:
                    declared += view[field_begin:field_end]
            tensor = onnx.TensorProto.FromString(bytes(declared))
            if raw is None or not is_plain(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)):
                graph += view[inner_begin:inner_end]
                continue
            weights[tensor.name] = raw
            graph += _opening(INITIALIZER, len(declared)) + declared
    return bytes(model + _opening(GRAPH, len(graph)) + graph), weights


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, where the field begins, where its value starts, where it ends) of each field of a protobuf message."""
    position = start
    while position < end:
        begin = position
        key, position = _varint(view, position)
        kind = key & 7
        if kind == BYTES:
            size, position = _varint(view, position)
        elif kind in SIZES:
            size = SIZES[kind]
        elif kind == 0:
            size = _varint(view, position)[1] - position
        else:
            raise ValueError(f"a field of the unknown wire type {kind}")
        if position + size > end:
            raise ValueError("it ends too early")
        yield key >> 3, begin, position, position + size
        position += size


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """A number, and the position behind it: 7 bits in each byte, the lowest first; the highest bit says `more`."""
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _opening(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of a field."""
    opening = bytearray()
    for value in (number << 3 | BYTES, size):
        while value >= 0x80:
            opening.append(value & 0x7F | 0x80)
            value >>= 7
        opening.append(value)
    return bytes(opening)
