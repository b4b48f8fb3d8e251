"""A space on disk: the graph, one ONNX file that holds the nodes of all fragments, and the choices as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from graphopt.atomic import replacing, write_json
from graphopt.ir.contract import Contract
from graphopt.ir.files import load_graph, save_graph
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Refusal, Site
from graphopt.ir.space import Candidate, Choice, Space

GRAPH, FRAGMENTS, CHOICES = "graph.onnx", "fragments.onnx", "choices.json"


def save_space(space: Space, folder: Path) -> None:
    """Writes the three files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_graph(space.graph, folder / GRAPH)
    fragments = [c.fragment for choice in space.choices.values() for c in choice.candidates.values()]
    with replacing(folder / FRAGMENTS) as temporary:
        onnx.save(_fragments_model(fragments, space.graph.opset), temporary)
    content = {
        "choices": [_choice_to_json(choice) for choice in space.choices.values()],
        "refusals": [asdict(refusal) for refusal in space.refusals],
    }
    write_json(folder / CHOICES, content)


def load_space(folder: Path) -> Space:
    """The space that `save_space` wrote."""
    graph = load_graph(folder / GRAPH)
    content = json.loads((folder / CHOICES).read_text())
    fragments = gs.import_onnx(onnx.load(folder / FRAGMENTS))
    nodes = {node.name: node for node in fragments.nodes}
    tensors = {**graph.tensors(), **fragments.tensors()}
    choices = [_choice_from_json(entry, nodes, tensors) for entry in content["choices"]]
    refusals = [Refusal(**entry) for entry in content["refusals"]]
    return Space(graph, {choice.name: choice for choice in choices}, refusals)


def _fragments_model(fragments: list[Fragment], opset: int) -> onnx.ModelProto:
    """All fragments side by side, with one stand-in for each tensor of the host graph."""
    shared: dict[str, gs.Tensor] = {}

    def copy(tensor: gs.Tensor) -> gs.Tensor:
        if tensor.is_empty():
            return gs.Variable.empty()
        if tensor.name not in shared:
            is_constant = isinstance(tensor, gs.Constant)
            shared[tensor.name] = (
                gs.Constant(tensor.name, tensor.values)
                if is_constant
                else gs.Variable(tensor.name, tensor.dtype, tensor.shape)
            )
        return shared[tensor.name]

    nodes = [
        gs.Node(n.op, n.name, dict(n.attrs), [copy(t) for t in n.inputs], [copy(t) for t in n.outputs])
        for fragment in fragments
        for n in fragment.nodes
    ]
    variables = [tensor for tensor in shared.values() if isinstance(tensor, gs.Variable)]
    graph = gs.Graph(
        nodes,
        inputs=[tensor for tensor in variables if not tensor.inputs],
        outputs=[tensor for tensor in variables if tensor.inputs and not tensor.outputs],
        opset=opset,
        name="fragments",
    )
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    return model


def _choice_to_json(choice: Choice) -> dict[str, Any]:
    candidates = {
        name: {
            "contract": str(candidate.contract),
            "nodes": list(candidate.fragment.node_names),
            "outputs": {host: tensor.name for host, tensor in candidate.fragment.outputs.items()},
        }
        for name, candidate in choice.candidates.items()
    }
    return {"site": asdict(choice.site), "parent": choice.parent, "candidates": candidates}


def _choice_from_json(entry: dict[str, Any], nodes: dict[str, gs.Node], tensors: dict[str, gs.Tensor]) -> Choice:
    site = Site(**{**entry["site"], "nodes": tuple(entry["site"]["nodes"])})
    candidates = {}
    for name, content in entry["candidates"].items():
        inside = [nodes[node] for node in content["nodes"]]
        operands = {id(t): t for node in inside for t in node.inputs if isinstance(t, gs.Constant)}
        fragment = Fragment(
            inside, {host: tensors[tensor] for host, tensor in content["outputs"].items()}, list(operands.values())
        )
        candidates[name] = Candidate(name, fragment, Contract(content["contract"]))
    return Choice(site, candidates, entry["parent"])
