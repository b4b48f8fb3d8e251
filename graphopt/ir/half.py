"""A graph in half precision."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from graphopt.ir.canonical import to_graph, to_model


def to_fp16(model: onnx.ModelProto, kept: Collection[str] = ()) -> onnx.ModelProto:
    """The model with fp16 weights and arithmetic; its input and output stay fp32, and so do nodes `kept`, by name."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    made = convert_float_to_float16(copied, keep_io_types=True, node_block_list=list(kept))
    if kept:
        _stay_wide(made.graph)
    half = to_graph(made)
    half.toposort()  # the converter appends the casts of the input at the end
    sorted_model = to_model(half)
    onnx.checker.check_model(sorted_model, full_check=True)
    return sorted_model


def _stay_wide(graph: onnx.GraphProto) -> None:
    """The converter casts all that a kept node makes to fp16 and back, and casts twice what a node reads twice."""
    makers = {node.output[0]: node for node in graph.node}
    to_fp32 = [node for node in makers.values() if _casts_to(node, onnx.TensorProto.FLOAT)]
    wide = {
        node.output[0]: makers[node.input[0]].input[0]
        for node in to_fp32
        if node.input[0] in makers and _casts_to(makers[node.input[0]], onnx.TensorProto.FLOAT16)
    }
    ends = {value.name for value in graph.output}
    for node in makers.values():
        for place, name in enumerate(node.input):
            node.input[place] = wide.get(name, name)
    read = ends.union(*(node.input for node in makers.values()))
    kept = [node for node in makers.values() if node.op_type != "Cast" or node.output[0] in read]
    del graph.node[:]
    graph.node.extend(kept)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)
