"""Any ONNX file -> a graph in canonical form: one opset, static shapes, inferred shapes, nodes named after modules."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from graphopt.errors import GraphoptError
from graphopt.ir.constants import little_endian, own_renamed, values_of
from graphopt.ir.difference import relative_difference
from graphopt.ir.naming import name_nodes
from graphopt.ir.session import OnnxSession, optimise_basic

OPSET = 20
IR_VERSION = 10  # the newest that opset 20 needs; onnxruntime lags behind onnx
NEWEST_KEPT = 23  # opsets above OPSET that need no conversion: the ops that we read did not change
LARGEST_SHAPE_VALUE = 1024  # bytes; values that shape inference reads (sizes, axes, pads) are shorter
NOTHING_SAID: tuple[dict[str, str], str] = ({}, "")  # metadata and documentation of a graph that is no file's
FOLDABLE = frozenset({"Shape", "ConstantOfShape", "Constant", "Identity"})


def read_onnx(path: Path) -> onnx.ModelProto:
    """Reads and checks a file; a file that is missing, or is not ONNX, is one message."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise GraphoptError(f"ONNX file {path} does not exist") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        raise GraphoptError(f"{path} is not a valid ONNX file: {_in_one_line(error)}; export it again") from error
    return model


def _in_one_line(error: Exception) -> str:
    """What went wrong, and at which node: onnx's checker says that in lines of its own."""
    words = str(error).replace("==> Context:", "-").split()
    return " ".join(words).rstrip(".") or type(error).__name__


def canonical(model: onnx.ModelProto, resolution: tuple[int, int] | None, where: str) -> onnx.ModelProto:
    """A canonical copy of `model`, for images of `resolution` (height, width), or of its own size where that is None.

    Raises GraphoptError where `where` has dynamic shapes and no resolution is given, or an opset that cannot be read.
    """
    _check_splits(model, where)
    model = _to_opset(model, where)
    fix_shapes(model, resolution, where)
    name_nodes(model)
    try:
        if any(node.op_type in FOLDABLE for node in model.graph.node):
            model = optimise_basic(model)
            name_nodes(model)  # again, without what was folded
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        misfit = _misfit(inferred)
    except (GraphoptError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        misfit = _misfit(onnx.shape_inference.infer_shapes(model, data_prop=True)) or reason
    if misfit is not None:
        size = "x".join(map(str, input_shape(model)))
        raise GraphoptError(f"{where}: the graph does not compute with an input of {size}: {misfit}")
    return inferred


def _misfit(model: onnx.ModelProto) -> str | None:
    """The first Reshape to a constant shape that its input does not fill: ONNX's shape inference believes it."""
    graph = model.graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
    targets: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            targets[node.output[0]] = onnx.helper.get_attribute_value(node.attribute[0])
    for node in graph.node:
        shape = shapes.get(node.input[0]) if node.op_type == "Reshape" else None
        if not shape or min(shape) <= 0 or node.input[1] not in targets:
            continue
        target = targets[node.input[1]]
        wanted = list(map(int, numpy_helper.to_array(target) if isinstance(target, onnx.TensorProto) else target))
        copied = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(wanted)]
        known = math.prod(size for size in copied if size != -1)
        values = math.prod(shape)
        if values != known if -1 not in copied else values % max(known, 1):
            found, asked = ("x".join(map(str, sizes)) for sizes in (shape, wanted))
            return (
                f"node {node.name} reshapes {node.input[0]} to the constant shape {asked}, but it is {found}; "
                f"use the size that the network was exported at, or export it with dynamic shapes"
            )
    return None


def _check_splits(model: onnx.ModelProto, where: str) -> None:
    """onnx's shape inference does not raise, but ends the process, where a Split says less than it has outputs."""
    sizes = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Split":
            continue
        said = next((a.i for a in node.attribute if a.name == "num_outputs"), len(node.output))
        if len(node.input) > 1 and node.input[1] in sizes:
            said = int(np.prod(sizes[node.input[1]].dims))
        if said != len(node.output):
            raise GraphoptError(
                f"{where}: Split ({node.name}) says {said} parts, but has {len(node.output)} outputs; export it again"
            )


def _to_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    )
    if foreign:
        raise GraphoptError(
            f"{where}: ops outside the ONNX standard: {', '.join(foreign)}; export the network without them"
        )
    if version < 13:
        raise GraphoptError(f"{where}: opset {version} is too old; export the network with opset 13 or newer")
    if OPSET <= version <= NEWEST_KEPT:
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        return copied
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GraphoptError(f"{where}: opset {version} cannot be converted to {OPSET}: {reason}") from error


def fix_shapes(model: onnx.ModelProto, resolution: tuple[int, int] | None, where: str) -> None:
    """Gives every graph input (N, C, H, W) a static shape, in place: batch 1 and the resolution asked for."""
    initialisers = {tensor.name for tensor in model.graph.initializer}
    changed = False
    for value in model.graph.input:
        if value.name in initialisers:
            continue
        dims = value.type.tensor_type.shape.dim
        dynamic = [position for position, dim in enumerate(dims) if not dim.HasField("dim_value") or dim.dim_value <= 0]
        if len(dims) == 4 and resolution is not None:
            wanted = {2: resolution[0], 3: resolution[1]}
        elif any(position >= 2 for position in dynamic):
            shape = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in dims)
            raise GraphoptError(
                f"{where}: input '{value.name}' has the dynamic shape ({shape}); give `resolution: [height, width]`"
            )
        else:
            wanted = {}
        if 1 in dynamic:
            raise GraphoptError(
                f"{where}: input '{value.name}' has a dynamic number of channels; export it with a fixed one"
            )
        if 0 in dynamic:
            wanted[0] = 1
        for position, size in wanted.items():
            changed |= dims[position].dim_value != size
            dims[position].dim_value = size
    if changed:
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")


def check_same(model: onnx.ModelProto, original: onnx.ModelProto, where: str, tolerance: float = 1e-5) -> float:
    """The largest relative difference of both on random inputs; more than `tolerance` is an error."""
    shapes, rng = input_shapes(model), np.random.default_rng(0)
    images = [rng.random(shape, dtype=np.float32) for shape in shapes]
    try:
        expected, found = OnnxSession(original).run(*images), OnnxSession(model).run(*images)
    except GraphoptError as error:
        said = _as_the_file_names_it(original, images, error)
        sizes = " and ".join("x".join(map(str, shape)) for shape in shapes)
        raise GraphoptError(f"{where}, with an input of {sizes}: {said}") from error
    if not np.isfinite(expected).all():
        raise GraphoptError(f"{where}: its output has values that are not finite on a random image; check its weights")
    difference = relative_difference(found, expected)
    if not difference <= tolerance:
        raise GraphoptError(
            f"{where}: the canonical graph differs from the original by {difference:.2e} (allowed {tolerance:g})"
        )
    return difference


def _as_the_file_names_it(model: onnx.ModelProto, images: list[Any], error: GraphoptError) -> GraphoptError:
    """The error with the node's own name, where onnxruntime gave it another one to run it faster."""
    try:
        OnnxSession(model, optimise=False).run(*images)
    except GraphoptError as plain:
        return plain
    return error


def input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    """The shape of the first input that is not an initialiser."""
    return input_shapes(model)[0]


def input_shapes(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    """The shapes of all inputs that are no initialisers."""
    initialisers = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in initialisers]
    return [tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values]


def canonical_graph(
    model: onnx.ModelProto, resolution: tuple[int, int] | None = None, where: str = "the model"
) -> gs.Graph:
    """A model as the graph that passes see: `canonical`, with `graph.nodes` and `graph.tensors()` to look at.

    `resolution` (height, width) is needed where the model's is dynamic; `where` names the model in errors.
    """
    return to_graph(canonical(model, resolution, where))


def to_graph(model: onnx.ModelProto) -> gs.Graph:
    """The graph of a model. What a file says of itself stays with it, through `copy_graph` and `to_model`."""
    graph = gs.import_onnx(model)
    graph.said = {entry.key: entry.value for entry in model.metadata_props}, model.doc_string
    return graph


def copy_graph(graph: gs.Graph) -> gs.Graph:
    """A copy that shares values of constants, with what the file said of itself."""
    copied = graph.copy()
    copied.said = vars(graph).get("said", NOTHING_SAID)
    copied.producer_name, copied.producer_version = graph.producer_name, graph.producer_version
    return copied


def to_model(graph: gs.Graph) -> onnx.ModelProto:
    """Exports with shapes inferred again."""
    model, constants = declared_model(graph)
    for tensor in model.graph.initializer:
        constant = constants.get(tensor.name)
        if constant is not None:
            tensor.raw_data = little_endian(values_of(constant)).tobytes()
    return model


def declared_model(graph: gs.Graph) -> tuple[onnx.ModelProto, dict[str, gs.Constant]]:
    """The model with shapes inferred, but without the values of large constants, which are returned by their names.

    graphsurgeon's export and ONNX's shape inference copy all that they are given. A graph inside a node would lose
    values that it shares: where there is one, nothing is left out.
    """
    tensors = {} if has_subgraphs(graph) else graph.tensors()
    constants = {name: tensor for name, tensor in tensors.items() if _is_large(tensor)}
    held = {name: constant._values for name, constant in constants.items()}
    try:
        for name, constant in constants.items():
            data_type = onnx.helper.np_dtype_to_tensor_dtype(constant.dtype)
            constant.values = gs.ir.tensor.LazyValues(
                onnx.TensorProto(name=name, dims=constant.shape, data_type=data_type)
            )
        own_renamed(graph)
        model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    finally:
        for name, constant in constants.items():
            constant.values = held[name]
    model.ir_version = IR_VERSION
    metadata, model.doc_string = vars(graph).get("said", NOTHING_SAID)
    onnx.helper.set_model_props(model, metadata)
    return onnx.shape_inference.infer_shapes(model, data_prop=True), constants


def _is_large(tensor: gs.Tensor) -> bool:
    """Whether it is a constant of plain numbers that shape inference does not read."""
    if not isinstance(tensor, gs.Constant) or isinstance(tensor._values, gs.ir.tensor.SparseValues):
        return False
    is_kept = tensor.export_dtype == tensor.dtype and is_plain(tensor.dtype)
    return is_kept and bool(tensor._values.nbytes > LARGEST_SHAPE_VALUE)


def is_plain(dtype: Any) -> bool:
    """Whether numpy itself holds such numbers as ONNX does: not those of less than a byte, nor bfloat16."""
    return isinstance(dtype, np.dtype) and issubclass(dtype.type, np.number | np.bool_)


def has_subgraphs(graph: gs.Graph) -> bool:
    """Whether there are graphs inside nodes. What these read is neither among the graph's tensors nor their node's."""
    return bool(graph.functions) or any(
        isinstance(value, gs.Graph) for node in graph.nodes for value in node.attrs.values()
    )
