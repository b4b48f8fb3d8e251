"""Specialised networks as ONNX: one file that runs the selector first and then one network, and each part alone."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper

from graphopt.models.source import check_export, export_module, export_network
from graphopt.models.specialised import Specialised


def export_specialised(
    network: Specialised, resolution: tuple[int, int], where: str
) -> tuple[dict[str, ModelProto], float]:
    """Models by name: "" for the whole, `range0` ..., `selector`; and the largest relative difference of any to torch.

    The whole takes one image at a time: `If` has one condition.
    """
    parts = {f"range{i}": export_network(part, resolution) for i, part in enumerate(network.networks)}  # type: ignore[arg-type]
    selector = export_module(network.selector, (1, network.config.image_channels, *resolution), "scores")
    whole = combined(selector, list(parts.values()))
    found = [check_export(part, parts[f"range{i}"], f"{where}, range {i}") for i, part in enumerate(network.networks)]
    found += [check_export(network.selector, selector, f"{where}, selector"), check_export(network, whole, where)]
    return {"": whole, **parts, "selector": selector}, max(found)


def combined(selector: ModelProto, networks: Sequence[ModelProto]) -> ModelProto:
    """image -> networks[argmax(selector(image))](image), with one `If` nested in the other."""
    chooser = _renamed(selector, "selector").graph
    nodes = [*chooser.node, helper.make_node("ArgMax", [chooser.output[0].name], ["range"], axis=1, keepdims=0)]
    constants = list(chooser.initializer)
    otherwise = _branch(networks[-1], f"range{len(networks) - 1}")
    for place in range(len(networks) - 2, -1, -1):
        constants.append(helper.make_tensor(f"number{place}", TensorProto.INT64, [1], [place]))
        nodes.append(helper.make_node("Equal", ["range", f"number{place}"], [f"is{place}"]))
        output = "restored" if place == 0 else f"from{place}/restored"
        chosen = _branch(networks[place], f"range{place}")
        choice = helper.make_node("If", [f"is{place}"], [output], then_branch=chosen, else_branch=otherwise)
        if place > 0:
            otherwise = helper.make_graph([choice], f"from{place}", [], [_image(output, None)])
    nodes.append(choice)
    shape = [dim.dim_value for dim in selector.graph.input[0].type.tensor_type.shape.dim]
    graph = helper.make_graph(nodes, "specialised", [_image("image", shape)], [_image("restored", shape)], constants)
    model = helper.make_model(graph, opset_imports=selector.opset_import, ir_version=selector.ir_version)
    onnx.checker.check_model(model)
    return model


def _branch(model: ModelProto, name: str) -> GraphProto:
    """The network as the body of an `If`: it reads `image` from outside, and its sizes are left open."""
    graph = _renamed(model, name).graph
    return helper.make_graph(graph.node, name, [], [_image(graph.output[0].name, None)], graph.initializer)


def _renamed(model: ModelProto, name: str) -> ModelProto:
    """All names begin with `name`, but for the input `image`."""
    renamed = onnx.compose.add_prefix(model, f"{name}/")
    image = renamed.graph.input[0].name
    for node in renamed.graph.node:
        for place, tensor in enumerate(node.input):
            if tensor == image:
                node.input[place] = "image"
    return renamed


def _image(name: str, shape: Sequence[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
